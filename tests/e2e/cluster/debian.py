"""Root file systems of Debian, as the lowest layers of images."""

import hashlib
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass

from tests.e2e.cluster import store

# What no program of an image reads.
NEEDLESS = ("var/cache/apt", "var/lib/apt/lists", *(f"usr/share/{it}" for it in ("doc", "info", "locale", "man")))
PATH = "PATH=/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin"


@dataclass(frozen=True)
class Debian:
    """A release of Debian, with packages beside its smallest set."""

    suite: str
    packages: tuple[str, ...]

    @property
    def reference(self) -> str:
        """What it is found by in the store."""
        key = hashlib.sha256(repr((self, NEEDLESS)).encode()).hexdigest()[:16]
        return f"debian/{self.suite}:{key}"


def keep(debian: Debian) -> None:
    """Bootstrap an image of one layer, unless the store has it.

    Raises:
        ImageError: It cannot be bootstrapped.
    """
    if store.has(debian.reference):
        return
    if not shutil.which("debootstrap"):
        raise store.ImageError("debootstrap is not installed. On Debian: apt-get install debootstrap")
    began = time.monotonic()
    sys.stderr.write(f"Bootstrapping Debian {debian.suite}, once for this machine: a minute or two\n")
    with store.folder() as folder:
        root, layer = folder / "root", folder / "layer"
        # In a mount namespace, since it mounts /proc and /sys, which are to go with it, however it ends.
        bootstrap = ["unshare", "--mount", "--propagation=private", "debootstrap", "--variant=minbase"]
        _run([*bootstrap, f"--include={','.join(debian.packages)}", debian.suite, str(root)])
        for path in NEEDLESS:
            shutil.rmtree(root / path, ignore_errors=True)
        empty = [f"--exclude=./{name}/*" for name in ("proc", "sys", "dev")]
        _run(["tar", "--create", f"--file={layer}", f"--directory={root}", "--numeric-owner", *empty, "."])
        store.keep(debian.reference, [], layer, {"Env": [PATH]})
    sys.stderr.write(f"Bootstrapped {debian.reference} in {time.monotonic() - began:.0f} s\n")


def _run(command: list[str]) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise store.ImageError(f"`{' '.join(command)}` failed:\n{done.stdout[-2000:]}")
