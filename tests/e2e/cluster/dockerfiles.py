"""The project's own images, built from its Dockerfiles as they are in HEAD, without an engine.

Their base cannot be pulled where no registry is reachable. In its place is a Debian of the same release with that
release's own Python 3.13 and pip.
"""

import configparser
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.e2e.cluster import debian, store
from tests.e2e.cluster.components import ROOT
from tests.e2e.cluster.debian import Debian
from tests.e2e.cluster.places import BUILDS, IMAGES
from tests.images.dockerfile import parse

BASE = Debian("trixie", ("python3.13-venv", "python3-pip", "python-is-python3", "ca-certificates"))
CERTIFICATES = Path("/etc/ssl/certs")
# In a mount namespace, so that no mount outlives it. Whatever its folders are, it would keep a cache below /var/lib;
# where that is read-only, it goes without.
ENCLOSED = ["unshare", "--mount", "--propagation=private", "sh", "-c"]
ENCLOSED += ['mount --bind /var/lib /var/lib && mount -o remount,bind,ro /var/lib && exec "$@"', "sh"]


def push(folder: str, name: str) -> None:
    """Have the cluster's registry serve the image of `folder`'s Dockerfile as `name`, built unless the store has it.

    Raises:
        ImageError: It cannot be built, or the registry does not take it.
    """
    store.publish(build(folder), name)


def build(folder: str) -> str:
    """Build the image of `folder`'s Dockerfile, unless the store has one of the same files, and return its reference.

    Raises:
        ImageError: buildah is not installed, or fails.
    """
    commit = _git("rev-parse", "HEAD").strip()
    reference = f"{folder}:{_key(folder, commit)}"
    if store.has(reference):
        return reference
    if not shutil.which("buildah"):
        raise store.ImageError("buildah is not installed. On Debian: apt-get install buildah")
    debian.keep(BASE)
    began = time.monotonic()
    sys.stderr.write(f"Building {folder}/Dockerfile\n")
    with store.folder() as temporary:
        _build(folder, commit, reference, temporary)
    sys.stderr.write(f"Built {folder}/Dockerfile in {time.monotonic() - began:.0f} s\n")
    return reference


def _build(folder: str, commit: str, reference: str, temporary: Path) -> None:
    context, settings, image = (temporary / it for it in ("context", "pip.conf", "image"))
    context.mkdir()
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True)
    subprocess.run(["tar", "--extract", f"--directory={context}"], input=archive.stdout, check=True)
    settings.write_text(pip_settings())
    name = folder.replace("/", "-")
    base = f"oci:{IMAGES.name}:{BASE.reference}"  # from its working folder, since it takes no path with a dot
    _buildah(
        *("build", "--isolation=chroot", "--layers", f"--from={base}", "--pull=always"),
        *(f"--volume={settings}:/etc/pip.conf:ro", f"--volume={CERTIFICATES}:{CERTIFICATES}:ro"),
        *(f"--file={context / folder / 'Dockerfile'}", f"--tag={name}", str(context)),
    )
    _buildah("push", "--disable-compression", name, f"dir:{image}")
    store.take(reference, image)


def _key(folder: str, commit: str) -> str:
    """Return a key made of all that the Dockerfile of `folder` reads, as git names it."""
    path = f"{folder}/Dockerfile"
    dockerfile = parse(Path(path), _git("show", f"{commit}:{path}"))
    sources = [source for source, _ in dockerfile.context]
    contents = _git("ls-tree", commit, "--", path, f"{path}.dockerignore", ".dockerignore", *sources)
    return hashlib.sha256(f"{BASE.reference}\n{contents}".encode()).hexdigest()[:16]


def pip_settings() -> str:
    """Return what pip is told on this machine, by files and environment, as one file for the time of a build."""
    settings = configparser.RawConfigParser()
    settings.read(["/etc/pip.conf", Path.home() / ".config" / "pip" / "pip.conf"])
    if not settings.has_section("global"):
        settings.add_section("global")
    for name, value in os.environ.items():
        if name.startswith("PIP_"):
            settings["global"][name.removeprefix("PIP_").lower().replace("_", "-")] = value
    lines = [f"{key} = {value}" for section in settings.sections() for key, value in settings[section].items()]
    return "\n".join(["[global]", *lines, ""])


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise store.ImageError(f"Only what is committed is built: {done.stderr.strip()}")
    return done.stdout


def _buildah(*arguments: str) -> None:
    places = [f"--root={BUILDS / 'storage'}", f"--runroot={BUILDS / 'run'}", "--storage-driver=overlay"]
    command = [*ENCLOSED, "buildah", *places, *arguments]
    (BUILDS / "temporary").mkdir(parents=True, exist_ok=True)
    environ = os.environ | {"TMPDIR": str(BUILDS / "temporary")}
    done = subprocess.run(
        command,
        cwd=IMAGES.parent,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise store.ImageError(f"`buildah {' '.join(arguments)}` failed:\n{done.stdout[-4000:]}")
