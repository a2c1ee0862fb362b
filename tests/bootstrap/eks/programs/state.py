"""What the programs that stand in for eksctl, kubectl and helm share: a file of what there is, and a list of calls."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ["STAND_INS"])
STATE = FOLDER / "state.json"
EMPTY: dict[str, Any] = {"objects": [], "releases": {}}


@contextmanager
def opened() -> Iterator[dict[str, Any]]:
    """Give what there is, and keep what is changed."""
    state = json.loads(STATE.read_text()) if STATE.exists() else EMPTY
    yield state
    STATE.write_text(json.dumps(state))


def call() -> tuple[str, list[str]]:
    """Write down the call, and return the program's name and arguments."""
    program, arguments = Path(sys.argv[0]).name, sys.argv[1:]
    with (FOLDER / "calls").open("a") as calls:
        calls.write(" ".join([program, *arguments]) + "\n")
    return program, arguments


def after(arguments: list[str], option: str) -> str:
    """Return what follows an option."""
    return arguments[arguments.index(option) + 1]


def dies(point: str) -> None:
    """End here, as if the machine had, if the test says so; once."""
    marker = FOLDER / f"dies-{point}"
    if marker.exists():
        marker.unlink()
        sys.exit(137)
