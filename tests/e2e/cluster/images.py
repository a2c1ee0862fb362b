"""Container images made of files, without an engine, and handed to the cluster's registry."""

import hashlib
import json
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.cluster import debian, store
from tests.e2e.cluster.debian import Debian


@dataclass(frozen=True)
class Image:
    """What an image is made of.

    Attributes:
        name: Its repository and tag, without a registry: the node takes every image from ours.
        files: Files of this machine by their paths in the image. All may be run.
        links: Symbolic links: what each points to, by its path.
        config: Command, user and environment, as the image format spells them.
        base: What the files are laid over.
    """

    name: str
    files: dict[str, Path]
    config: dict[str, object]
    links: dict[str, str] = field(default_factory=dict)
    base: Debian | None = None

    @property
    def reference(self) -> str:
        """What it is found by in the store. A file that is neither moved nor written to counts as the same."""
        found = {path: (source, source.stat()) for path, source in self.files.items()}
        files = {path: (str(source), it.st_size, it.st_mtime_ns) for path, (source, it) in found.items()}
        made_of = [files, self.links, self.config, self.base and self.base.reference]
        key = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]
        return f"{self.name.rpartition(':')[0]}:{key}"


def push(image: Image) -> None:
    """Have the cluster's registry serve `image`, made unless the store has it.

    Raises:
        ImageError: It cannot be made, or the registry does not take it.
    """
    store.publish(keep(image), image.name)


def keep(image: Image) -> str:
    """Make `image`, unless the store has it, and return its reference.

    Raises:
        ImageError: It cannot be made.
    """
    reference = image.reference
    if not store.has(reference):
        if image.base:
            debian.keep(image.base)
        _make(image, reference)
    return reference


def _make(image: Image, reference: str) -> None:
    with store.folder() as folder:
        layer = folder / "layer"
        with tarfile.open(layer, "w") as tar:
            if not image.base:
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
        base = store.layers(image.base.reference) if image.base else []
        store.keep(reference, base, layer, image.config)
