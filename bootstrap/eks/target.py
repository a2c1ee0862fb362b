"""The cluster that a command is about: its facts, its files, and the programs that reach it."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bootstrap.eks.step import StepError
from generator.model import Config

Manifest = dict[str, Any]
ENDED_BADLY_LINES = 15


class ProgramError(StepError):
    """A program failed; the text has what it said."""


@dataclass(frozen=True)
class Target:
    """A cluster.

    Attributes:
        repository: Root of the working tree.
        cluster: Name of its folder below `clusters/`.
        poll_seconds: How long to wait before looking again at what takes its time.
        patience_seconds: How long to wait for it in all.
    """

    repository: Path
    cluster: str
    config: Config
    poll_seconds: float = 10
    patience_seconds: float = 3600

    @property
    def rendered(self) -> Path:
        """The folder of what is made from its config.yaml."""
        return self.repository / "clusters" / self.cluster / "rendered"

    @property
    def kubeconfig(self) -> Path:
        """A kubeconfig of its own, so that nobody's other clusters are touched."""
        return self.repository / ".run" / self.cluster / "kubeconfig"

    @property
    def command_end(self) -> str:
        """What `make` is told of the cluster."""
        return f"CLUSTER={self.cluster}"

    def wait(self, until: Callable[[], bool], what: str, mend: str) -> None:
        """Wait until something is so.

        Raises:
            StepError: It took too long.
        """
        deadline = time.monotonic() + self.patience_seconds
        while not until():
            if time.monotonic() > deadline:
                raise StepError(f"{what} took longer than {self.patience_seconds / 60:g} minutes. {mend}")
            time.sleep(self.poll_seconds)

    def eksctl(self, *arguments: str) -> None:
        """Run eksctl, whose progress goes straight to the terminal."""
        run("eksctl", *arguments, show=True)

    def helm(self, *arguments: str) -> str:
        """Run Helm against the cluster and return what it prints."""
        return run("helm", *arguments, "--kubeconfig", str(self.kubeconfig))

    def kubectl(self, *arguments: str, manifest: Manifest | None = None) -> str:
        """Run kubectl against the cluster and return what it prints; `manifest` is its standard input."""
        text = json.dumps(manifest) if manifest else None
        return run("kubectl", "--kubeconfig", str(self.kubeconfig), *arguments, text=text)

    def objects(self, kind: str, namespace: str = "") -> list[Manifest]:
        """Return the objects of a kind, of all namespaces if none is named; none if there is no such kind."""
        where = ["--namespace", namespace] if namespace else ["--all-namespaces"]
        try:
            found: list[Manifest] = json.loads(self.kubectl("get", kind, *where, "--output", "json"))["items"]
        except ProgramError as error:
            if "the server doesn't have a resource type" in str(error):
                return []
            raise
        return found

    def object(self, kind: str, name: str, namespace: str) -> Manifest | None:
        """Return an object, or None if it is not there."""
        return next((item for item in self.objects(kind, namespace) if item["metadata"]["name"] == name), None)


def run(program: str, *arguments: str, text: str | None = None, show: bool = False) -> str:
    """Run a program and return what it prints, or show that.

    Raises:
        ProgramError: It is not there, or failed.
    """
    command = [program, *arguments]
    try:
        done = subprocess.run(
            command,
            input=text,
            stdin=None if text is not None else subprocess.DEVNULL,
            stdout=None if show else subprocess.PIPE,
            stderr=None if show else subprocess.PIPE,
            text=True,
            check=False,
            env={**os.environ, "AWS_PAGER": ""},
        )
    except OSError as error:
        raise ProgramError(
            f"{program} does not run: {error.strerror}. Install it, and see that it is on PATH."
        ) from error
    if done.returncode:
        # Not the whole command line: what is asked for is in what it says.
        said = "\n".join((done.stderr or done.stdout or "see above").strip().splitlines()[-ENDED_BADLY_LINES:])
        raise ProgramError(f"`{program} {' '.join(arguments[:4])} …` ended with {done.returncode}: {said}")
    return done.stdout or ""
