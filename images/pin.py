"""Digests in a cluster's `config.yaml`, in the place of tags; comments and order stay as they are."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

_REPOSITORY = re.compile(r"(?P<indent>\s*)repository:\s*(?P<quote>[\"']?)(?P<name>\S+?)(?P=quote)\s*(#.*)?")
_TAG = re.compile(r"(?P<start>(?P<indent>\s*)tag:\s*)[\"']?[^\s#\"']+[\"']?(?P<rest>.*)")


def digests(folder: Path) -> dict[str, str]:
    """Return the digest of each image whose build left `<image>.json` in `folder` (`--metadata-file` of buildx).

    Raises:
        ValueError: A file has no digest.
    """
    found = {}
    for file in sorted(folder.glob("*.json")):
        digest = json.loads(file.read_text()).get("containerimage.digest")
        if not isinstance(digest, str) or not re.fullmatch("sha256:[0-9a-f]{64}", digest):
            raise ValueError(f"{file} has no containerimage.digest: was the image pushed?")
        found[file.stem] = digest
    return found


def pinned(text: str, registry: str, digests: Mapping[str, str]) -> tuple[str, set[str]]:
    """Return a `config.yaml` with these digests, and the images that it names.

    An image is named by `repository: <registry>/<image>` with a `tag` beside it, or in one, `image: …/<image>:<tag>`.
    """
    lines, named = [], set[str]()
    awaited: tuple[str, str] | None = None  # the indentation of the tag that is to come, and its digest
    for line in text.splitlines():
        repository, tag = _REPOSITORY.fullmatch(line), _TAG.fullmatch(line)
        if repository:
            name = repository["name"].removeprefix(f"{registry}/")
            awaited = (repository["indent"], digests[name]) if name in digests and name != repository["name"] else None
            named |= {name} if awaited else set()
        elif tag and awaited and tag["indent"] == awaited[0]:
            line = f"{tag['start']}{awaited[1]}{tag['rest']}"  # noqa: PLW2901
            awaited = None
        lines.append(line)
    text = "\n".join(lines) + "\n"
    for name, digest in digests.items():
        whole = re.compile(
            rf"(image:\s*[\"']?{re.escape(registry)}/{re.escape(name)})(:[\w.-]+|@sha256:[0-9a-f]{{64}})"
        )
        text, count = whole.subn(rf"\1@{digest}", text)
        named |= {name} if count else set()
    return text, named
