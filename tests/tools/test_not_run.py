"""What a machine is not set up for is told at the end of the tests, and is an error where everything must run."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = """
from tests.conftest import not_run

def test_that_needs_something():
    not_run("Such-and-such is not installed.", "`apt-get install such-and-such` installs it.")

def test_that_needs_nothing():
    pass
"""


def outcome(folder: Path, repository: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_two.py").write_text(TESTS)
    kept = {name: value for name, value in os.environ.items() if name not in {"REQUIRE_ALL", "PYTEST_ADDOPTS"}}
    kept = {name: value for name, value in kept.items() if not name.startswith("PYTEST_XDIST")}
    # The other plugins take seconds to start.
    kept["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    command = [sys.executable, "-m", "pytest", "-p", "xdist", "-p", "tests.conftest", "-p", "no:cacheprovider"]
    command += ["--rootdir", str(folder), *arguments, str(folder)]
    return subprocess.run(command, cwd=repository, env=kept | environ, capture_output=True, text=True, check=False)


def test_what_was_not_run_is_listed_with_the_reason_and_the_mend(tmp_path: Path, repository: Path) -> None:
    done = outcome(tmp_path, repository)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 not run: Such-and-such is not installed. `apt-get install such-and-such` installs it." in done.stdout


def test_where_everything_must_run_that_is_a_failure(tmp_path: Path, repository: Path) -> None:
    done = outcome(tmp_path, repository, "-n", "1", REQUIRE_ALL="1")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 not run: Such-and-such" in done.stdout
    assert "REQUIRE_ALL is set: that is a failure." in done.stdout
