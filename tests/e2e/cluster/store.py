"""Images that outlive a cluster: one OCI image layout, whose blobs the cluster's registry serves as they are.

The registry beside the node keeps blobs in a folder and manifests in memory. That folder is the layout's own, so that
an image that is kept is handed to a new cluster by its manifest alone.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from tests.e2e.cluster.places import IMAGES, REGISTRY
from tools.install import locked

BLOBS = IMAGES / "blobs"
INDEX = IMAGES / "index.json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"  # not compressed: no wire is in between, and processors are few
REFERENCE = "org.opencontainers.image.ref.name"
UNFINISHED = "unfinished-"

Descriptor = dict[str, Any]


class ImageError(Exception):
    """An image cannot be made or handed to the cluster; the text says which, and why."""


def has(reference: str) -> bool:
    """Return whether the image is kept. A reference is `<name>:<key>`, the key being made of all that it is made of."""
    return any(_reference(it) == reference for it in _index())


def layers(reference: str) -> list[Descriptor]:
    """Return the descriptors of an image's layers, the lowest first."""
    found: list[Descriptor] = json.loads(_manifest(reference))["layers"]
    return found


def config(reference: str) -> dict[str, object]:
    """Return an image's command, user and environment."""
    found: dict[str, object] = json.loads(_blob(json.loads(_manifest(reference))["config"]).read_bytes())["config"]
    return found


def keep(
    reference: str,
    base: list[Descriptor],
    layer: Path | None,
    config: dict[str, object],
    annotations: dict[str, str] | None = None,
) -> None:
    """Put an image into the store, in the place of the one with another key, whose blobs stay until `sweep`.

    Args:
        reference: What it is found by.
        base: Layers of an image that is kept already.
        layer: An archive with what lies over them, which is moved.
        config: Command, user and environment, as the image format spells them.
        annotations: What is said of the layer.
    """
    own = {"annotations": annotations} if annotations else {}
    descriptors = [*base, _add(layer, LAYER) | own] if layer else base
    made = {
        "architecture": "amd64",
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [it["digest"] for it in descriptors]},
        "history": [{"comment": reference} for _ in descriptors],  # buildah counts them
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _add_json(made, CONFIG),
        "layers": descriptors,
    }
    _list(reference, _add_json(manifest, MANIFEST))


def take(reference: str, image: Path) -> None:
    """Put an image into the store like `keep`: a folder with its manifest and blobs, as buildah's `dir:` writes it."""
    manifest = json.loads((image / "manifest.json").read_bytes())
    for descriptor in (manifest["config"], *manifest["layers"]):
        (image / _blob(descriptor).name).replace(_blob(descriptor))
    _list(reference, _add(image / "manifest.json", MANIFEST))


def sweep() -> None:
    """Remove the blobs that no image refers to: old ones, and those that came over the registry's own protocol.

    Only while no registry serves them.
    """
    with locked(IMAGES):
        used = set()
        for image in _index():
            manifest = json.loads(_blob(image).read_bytes())
            used |= {_blob(it) for it in (image, manifest["config"], *manifest["layers"])}
        for path in (path for path in BLOBS.rglob("*") if path.is_file() and path not in used):
            path.unlink()


def publish(reference: str, name: str) -> None:
    """Have the cluster's registry serve an image that is kept as `name`, a repository and a tag.

    Raises:
        ImageError: It does not take it.
    """
    repository, _, tag = name.rpartition(":")
    url = f"http://{REGISTRY}/v2/{repository}/manifests/{tag}"
    try:
        answer = requests.put(url, data=_manifest(reference), headers={"Content-Type": MANIFEST}, timeout=30)
        answer.raise_for_status()
    except requests.RequestException as error:
        raise ImageError(f"{name} cannot be published: {error}. Is the cluster up?") from error


@contextmanager
def folder() -> Iterator[Path]:
    """Give a folder for what is to be kept, next to the blobs. One process at a time has one; nothing of it is left."""
    with locked(IMAGES):
        for left in IMAGES.glob(f"{UNFINISHED}*"):  # by a process that was killed
            shutil.rmtree(left)
        with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=IMAGES) as made:
            yield Path(made)


def _add(path: Path, kind: str) -> Descriptor:
    with path.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    descriptor = {"mediaType": kind, "digest": f"sha256:{digest}", "size": path.stat().st_size}
    _blob(descriptor).parent.mkdir(parents=True, exist_ok=True)
    path.rename(_blob(descriptor))
    return descriptor


def _add_json(content: dict[str, Any], kind: str) -> Descriptor:
    data = json.dumps(content).encode()
    descriptor = {"mediaType": kind, "digest": f"sha256:{hashlib.sha256(data).hexdigest()}", "size": len(data)}
    _blob(descriptor).parent.mkdir(parents=True, exist_ok=True)
    _blob(descriptor).write_bytes(data)
    return descriptor


def _blob(descriptor: Descriptor) -> Path:
    return BLOBS.joinpath(*str(descriptor["digest"]).split(":"))


def _manifest(reference: str) -> bytes:
    return _blob(next(it for it in _index() if _reference(it) == reference)).read_bytes()


def _list(reference: str, manifest: Descriptor) -> None:
    name = reference.rpartition(":")[0]
    others = [it for it in _index() if _reference(it).rpartition(":")[0] != name]
    (IMAGES / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))
    unfinished = INDEX.with_suffix(".unfinished")
    manifests = [*others, manifest | {"annotations": {REFERENCE: reference}}]
    unfinished.write_text(json.dumps({"schemaVersion": 2, "manifests": manifests}))
    unfinished.rename(INDEX)


def _reference(image: Descriptor) -> str:
    return str(image["annotations"][REFERENCE])


def _index() -> list[Descriptor]:
    found: list[Descriptor] = json.loads(INDEX.read_bytes())["manifests"] if INDEX.exists() else []
    return found
