"""What is installed is the client alone, with no more than its lock has."""

import subprocess
import sys
import tomllib
from pathlib import Path

from tests.conftest import not_run


def test_what_a_group_locks_is_what_the_package_needs(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())
    assert project["project"]["dependencies"] == project["dependency-groups"]["client"]


def test_it_installs_as_darkroom_beside_the_locked_dependencies(repository: Path, tmp_path: Path) -> None:
    uv = repository / ".cache/uv/bin/uv"
    if not uv.exists():
        not_run("uv is not installed.", "`make test` installs it.")
    python = tmp_path / "venv/bin/python"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, tmp_path / "venv"], check=True)
    install = [str(uv), "pip", "install", "--quiet", "--python", str(python)]
    lock = str(repository / "requirements/client.txt")
    subprocess.run([*install, "--require-hashes", "--requirement", lock], check=True)
    subprocess.run([*install, "--no-deps", str(repository)], check=True)
    subprocess.run([uv, "pip", "check", "--quiet", "--python", python], check=True)

    darkroom = tmp_path / "venv/bin/darkroom"
    environ = {"DARKROOM_URL": "http://127.0.0.1:1", "PATH": "/usr/bin:/bin"}
    done = subprocess.run([darkroom, "jobs"], check=False, cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert "cannot be reached" in done.stderr
    typed = subprocess.run(
        [
            python,
            "-c",
            "import darkroom, importlib.util as u; print(darkroom.Client.__module__, u.find_spec('client'))",
        ],
        check=True,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert typed.stdout == "darkroom.client None\n"
