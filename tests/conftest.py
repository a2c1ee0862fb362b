"""What more than one folder of tests needs: the repository, pinned tools, and AWS as the emulator plays it."""

import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import boto3
import pytest

from bootstrap.local import emulator
from bootstrap.local.programs import Ports, Program, Programs, answers
from tools import install, modules
from tools.go import GoError

REPOSITORY = Path(__file__).parents[1]
REGION = "us-east-1"
ACCOUNT_ID = "000000000000"


T = TypeVar("T")

# Long enough for a busy machine: whoever waits that long has found a bug.
PATIENCE_S = 40.0


def eventually(look: Callable[[], T], what: str = "it") -> T:
    """Return what `look` returns as soon as that is true."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} did not happen within {PATIENCE_S:g} s")


@dataclass(frozen=True)
class Aws:
    """A running emulator.

    Attributes:
        environ: What points programs at it.
    """

    url: str
    environ: dict[str, str]

    def client(self, service: str) -> Any:
        """Return a boto3 client of the emulator."""
        return boto3.client(
            service,  # type: ignore[call-overload]
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=self.environ["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environ["AWS_SECRET_ACCESS_KEY"],
        )


def not_run(what: str, mend: str) -> NoReturn:
    """Leave out a test that this machine is not set up for; it is listed at the end, and an error under REQUIRE_ALL.

    Args:
        what: What is not there, as a sentence.
        mend: How to get it, as a sentence.
    """
    pytest.skip(f"{what} {mend}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List what was not run, why, and how to mend it."""
    if reasons := _reasons_not_run(terminalreporter):
        terminalreporter.section("not run", yellow=True)
        for reason, count in sorted(reasons.items()):
            terminalreporter.line(f"{count} not run: {reason}")
        if os.environ.get("REQUIRE_ALL"):
            terminalreporter.line("REQUIRE_ALL is set: that is a failure.")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail under REQUIRE_ALL when something was not run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("REQUIRE_ALL") and reporter and _reasons_not_run(reporter) and not session.exitstatus:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _reasons_not_run(reporter: pytest.TerminalReporter) -> Counter[str]:
    skipped = [report.longrepr for report in reporter.stats.get("skipped", [])]
    return Counter(str(found[2]).removeprefix("Skipped: ") for found in skipped if isinstance(found, tuple))


@pytest.fixture(scope="session")
def tool() -> Callable[[str], Path]:
    """Gives the path of a command-line tool of `tools/`, at its pinned version: `tool("helm")`."""

    def path(name: str) -> Path:
        return install.find(name) or not_run(
            f"{name} {install.TOOLS[name].version} is neither on PATH nor built.", "`make tools` builds it."
        )

    return path


@pytest.fixture(scope="session")
def go_module() -> Callable[[str], Path]:
    """Gives the folder of a Go module of `tools/schemas`: `go_module("github.com/kedacore/keda/v2")`."""

    def folder(path: str) -> Path:
        try:
            return modules.download(path)
        except GoError as error:
            not_run(f"{path} cannot be downloaded.", str(error))

    return folder


@pytest.fixture(scope="session")
def chromium() -> Path:
    """A Chromium that is installed on this machine, for tests of pages."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    return Path(found or not_run("Chromium is not installed.", "`apt-get install chromium` installs it."))


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the working tree."""
    return REPOSITORY


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    """MiniStack, really running on a free loopback port; tests share it, so each names its own things."""
    with emulated(tmp_path_factory.mktemp("emulator"), emulator.SERVICES) as running:
        yield running


@contextmanager
def emulated(folder: Path, services: str) -> Iterator[Aws]:
    """Run MiniStack with some of its services."""
    port = Ports().of("emulator", 0)
    url = f"http://127.0.0.1:{port}"
    programs = Programs(folder)
    environ = emulator.environ(port, ACCOUNT_ID, REGION, folder) | {"SERVICES": services}
    command = emulator.command(REPOSITORY / ".venv-emulator")
    programs.start(Program("emulator", command, environ, partial(answers, f"{url}{emulator.HEALTH}")))
    try:
        programs.wait_ready("emulator")
        yield Aws(url, emulator.client_environ(port, REGION))
    finally:
        programs.kill()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A git repository with the working tree as it is now, committed, and the environments it needs."""
    listed = ["git", "-C", str(REPOSITORY), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = [
        name for name in subprocess.run(listed, capture_output=True, check=True).stdout.decode().split("\0") if name
    ]
    copy = tmp_path / "checkout"
    for name in names:
        source, target = REPOSITORY / name, copy / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    (copy / ".venv-emulator").symlink_to(REPOSITORY / ".venv-emulator")
    git(copy, "init", "--quiet")
    commit(copy, "everything")
    return copy


def git(repository: Path, *arguments: str) -> None:
    """Run git in `repository`, as somebody."""
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    subprocess.run(["git", "-C", str(repository), *identity, *arguments], check=True)


def commit(repository: Path, message: str) -> None:
    """Commit all that is in `repository`."""
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", message)
