"""The kubelet's part: programs are started, watched, started again when they die, and stopped; none is left behind."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import requests

STOP_SECONDS = 30.0
LONGEST_PAUSE_SECONDS = 30.0
LAST_LINES = 15


@dataclass(frozen=True)
class Program:
    """A program to run.

    Attributes:
        environ: Its whole environment.
        ready: Returns whether it can do its work.
    """

    name: str
    command: list[str]
    environ: dict[str, str]
    ready: Callable[[], bool] = field(compare=False)


@dataclass(frozen=True)
class Death:
    """A program that ended without having been stopped.

    Attributes:
        code: Its exit code; negative for the signal that ended it.
        last_lines: The end of its log.
        restart_seconds: The pause before it is started again.
    """

    name: str
    code: int
    log: Path
    last_lines: list[str]
    restart_seconds: float


class NotReadyError(Exception):
    """The program `name` did not become ready; the text has the end of its log."""

    def __init__(self, name: str, problem: str, log: Path) -> None:
        super().__init__(f"{name} {problem}:\n{_tail_text(log)}")
        self.name = name


@dataclass
class _Child:
    program: Program
    log: Path
    process: subprocess.Popen[bytes]
    deaths: int = 0
    restart_at: float | None = None
    started_at: float = field(default_factory=time.monotonic)


class Programs:
    """The programs that run.

    Args:
        logs: The folder that each program's output goes into, as `<name>.log`.
    """

    def __init__(self, logs: Path) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self._logs = logs
        self._children: dict[str, _Child] = {}

    def running(self) -> dict[str, Program]:
        """Return the programs that should run, by name."""
        return {name: child.program for name, child in self._children.items()}

    def start(self, program: Program) -> None:
        """Start `program`; it is not ready yet."""
        log = self._logs / f"{program.name}.log"
        log.write_bytes(b"")
        self._children[program.name] = _Child(program, log, _spawn(program, log))

    def wait_ready(self, name: str, seconds: float = 60) -> None:
        """Wait until the program `name` is ready, for so many seconds from its start: waiting twice takes no longer.

        Raises:
            NotReadyError: It died, or was not ready in time.
        """
        child = self._children[name]
        while not child.program.ready():
            if child.process.poll() is not None:
                raise NotReadyError(name, f"ended with code {child.process.returncode}", child.log)
            if time.monotonic() > child.started_at + seconds:
                raise NotReadyError(name, f"was not ready after {seconds:g} s", child.log)
            time.sleep(0.05)

    def check(self) -> list[Death]:
        """Return the programs that died since the last call, and start those again whose pause is over."""
        deaths = []
        for child in self._children.values():
            if child.restart_at is None:
                code = child.process.poll()
                if code is not None:
                    pause = min(2.0**child.deaths, LONGEST_PAUSE_SECONDS)
                    child.deaths += 1
                    child.restart_at = time.monotonic() + pause
                    deaths.append(Death(child.program.name, code, child.log, _tail(child.log), pause))
            elif time.monotonic() >= child.restart_at:
                child.restart_at = None
                child.process = _spawn(child.program, child.log)
                child.started_at = time.monotonic()
        return deaths

    def stop(self, *names: str) -> None:
        """Stop the programs `names` together: asked first, ended after a while."""
        children = [self._children[name] for name in names if name in self._children]
        for child in children:
            if child.process.poll() is None:
                child.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for child in children:
            try:
                child.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
            self._children.pop(child.program.name)  # not before: an interrupted stop is followed by a kill

    def kill(self) -> None:
        """End every program at once."""
        for child in self._children.values():
            if child.process.poll() is None:
                child.process.kill()
                child.process.wait()
        self._children.clear()


class Ports:
    """Loopback ports by who uses them: the usual one where it is free, and another where it is taken."""

    def __init__(self) -> None:
        self._given: dict[str, int] = {}

    def of(self, name: str, usual: int) -> int:
        """Return the port of `name`, always the same until it is given back."""
        if name not in self._given:
            self._given[name] = next(port for port in _free_ports(usual) if port not in self._given.values())
        return self._given[name]

    def give_back(self, name: str) -> None:
        """Forget the port of `name`."""
        self._given.pop(name, None)


def _free_ports(usual: int) -> Iterator[int]:
    for wanted in (usual, *[0] * 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", wanted))
            except OSError:
                continue
            port: int = probe.getsockname()[1]
        yield port


def answers(url: str) -> bool:
    """Return whether a GET of `url` succeeds."""
    try:
        return requests.get(url, timeout=1).ok
    except requests.RequestException:
        return False


def _spawn(program: Program, log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(
            program.command,
            env=program.environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # A group of its own: Ctrl-C reaches only us, and we stop things in order.
            start_new_session=True,
            preexec_fn=partial(_die_with, os.getpid()) if sys.platform == "linux" else None,  # noqa: PLW1509
        )


def _die_with(parent: int) -> None:
    """Have the kernel end this process when its `parent` is gone, however that went."""
    set_parent_death_signal = 1
    ctypes.CDLL(None, use_errno=True).prctl(set_parent_death_signal, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _tail(log: Path) -> list[str]:
    return log.read_text(errors="replace").splitlines()[-LAST_LINES:]


def _tail_text(log: Path) -> str:
    return "\n".join(f"  {line}" for line in _tail(log)) or f"  ({log} is empty)"
