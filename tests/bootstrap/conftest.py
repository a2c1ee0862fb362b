"""A running demo, for tests of what people do with it."""

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from bootstrap.local import emulator
from tests.conftest import Aws

_numbers = itertools.count()


class Demo:
    """A running demo.

    Args:
        checkout: The repository that it runs in.
    """

    def __init__(self, checkout: Path, *arguments: str) -> None:
        self._checkout = checkout
        self._log = checkout.parent / f"demo-{next(_numbers)}.log"
        environ = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "bootstrap.local", *arguments],
                cwd=checkout,
                env=environ | {"PYTHONPATH": "", "COLUMNS": "200"},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        return self._log.read_text()

    def wait_for(self, text: str, seconds: float = 90) -> str:
        """Wait until the output has a match for `text`, and return its first group, or all of it."""
        deadline = time.monotonic() + seconds
        while not (found := re.search(text, self.output, re.MULTILINE)):
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, f"no {text!r} in:\n{self.output}"
            time.sleep(0.1)
        return found.group(found.lastindex or 0)

    @property
    def api(self) -> str:
        return self.wait_for(r"^API and console +(http://\S+)")

    @property
    def aws(self) -> Aws:
        return Aws(self.wait_for(r"^AWS +(http://\S+)"), emulator.CREDENTIALS)

    def draw(self, prompt: str, **job: Any) -> dict[str, Any]:
        """Submit a job, wait for its end, and return it."""
        body = {"input": {"prompt": prompt, "width": 128, "height": 128, "steps": 12}, **job}
        submitted = requests.post(f"{self.api}/v1/jobs", json=body, timeout=10)
        assert submitted.status_code == 202, submitted.text
        return self.end_of(submitted.json()["id"])

    def end_of(self, job: str, seconds: float = 90) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while True:
            state: dict[str, Any] = requests.get(f"{self.api}/v1/jobs/{job}", timeout=10).json()
            if state["status"] not in {"queued", "running"}:
                return state
            assert time.monotonic() < deadline, state
            time.sleep(0.1)

    def programs(self) -> dict[int, str]:
        """The command lines of all that runs for this demo, by process id."""
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if process.name != str(self.process.pid) and (process / "cwd").resolve() == self._checkout:
                    found[int(process.name)] = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
        return found

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)


@pytest.fixture
def run(checkout: Path) -> Iterator[Callable[..., Demo]]:
    """Starts demos in a committed copy of the working tree, and ends those that a test left running."""
    demos: list[Demo] = []

    def start(*arguments: str) -> Demo:
        demos.append(Demo(checkout, *arguments))
        return demos[-1]

    yield start
    for demo in demos:
        if demo.process.poll() is None:
            demo.stop()
