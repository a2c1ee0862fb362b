"""Container images made of files, without an engine, and pushed to the cluster's registry."""

import hashlib
import io
import json
import subprocess
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.cluster.places import REGISTRY, STATE
from tools.install import install

PSEUDO = ("./proc/", "./sys/", "./dev/")


@dataclass(frozen=True)
class Image:
    """What an image is made of.

    Attributes:
        name: Its repository and tag, without a registry: the node takes every image from ours.
        files: Files of this machine by their paths in the image. All may be run.
        links: Symbolic links: what each points to, by its path.
        config: Command, user and environment, as the image format spells them.
        root: A folder with a root file system that the files are laid over.
    """

    name: str
    files: dict[str, Path]
    config: dict[str, object]
    links: dict[str, str] = field(default_factory=dict)
    root: Path | None = None


def push(image: Image) -> None:
    """Make `image` and push it to the cluster's registry."""
    folder = STATE / "images"
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"{image.name.replace('/', '_').replace(':', '_')}.tar"
    _write(image, archive)
    command = [str(install("crane")), "push", "--insecure", str(archive), f"{REGISTRY}/{image.name}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    archive.unlink()
    if done.returncode:
        raise RuntimeError(f"{image.name} cannot be pushed to {REGISTRY}: {done.stderr.strip()}")


def _write(image: Image, archive: Path) -> None:
    layer = archive.with_suffix(".layer")
    with tarfile.open(layer, "w") as tar:
        if image.root:
            tar.add(image.root, arcname=".", filter=lambda i: None if i.name.startswith(PSEUDO) else i)
        else:
            for name, mode in (("tmp", 0o1777), ("etc", 0o755), ("proc", 0o755), ("dev", 0o755)):
                made = tarfile.TarInfo(name)
                made.type, made.mode = tarfile.DIRTYPE, mode
                tar.addfile(made)
        for path, source in image.files.items():
            made = tarfile.TarInfo(path)
            made.size, made.mode = source.stat().st_size, 0o755
            with source.open("rb") as content:
                tar.addfile(made, content)
        for path, target in image.links.items():
            made = tarfile.TarInfo(path)
            made.type, made.linkname = tarfile.SYMTYPE, target
            tar.addfile(made)
    with layer.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": image.config,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [image.name], "Layers": ["layer.tar"]}]
    with tarfile.open(archive, "w") as tar:
        for name, data in ((config_name, config), ("manifest.json", json.dumps(manifest).encode())):
            made = tarfile.TarInfo(name)
            made.size = len(data)
            tar.addfile(made, io.BytesIO(data))
        tar.add(layer, arcname="layer.tar")
    layer.unlink()
