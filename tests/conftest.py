"""What more than one folder of tests needs: the repository, and AWS as the emulator plays it."""

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import boto3
import pytest

from bootstrap.local import emulator
from bootstrap.local.programs import Ports, Program, Programs, answers

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


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the working tree."""
    return REPOSITORY


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    """MiniStack, really running on a free loopback port; tests share it, so each names its own things."""
    folder = tmp_path_factory.mktemp("emulator")
    port = Ports().of("emulator", 0)
    url = f"http://127.0.0.1:{port}"
    programs = Programs(folder)
    environ = emulator.environ(port, ACCOUNT_ID, REGION, folder)
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
