"""The web UI's request body, made of what clients of all forms write. Pure functions."""

import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from agent.errors import PermanentError
from contract.job import HEADER_FIELDS, Job, Task, unsound

_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
# A comma that ends a link, rather than one in it.
_LINK_END = re.compile(r"\s*,\s*(?=[a-z][a-z0-9+.-]*://|$)", re.IGNORECASE)
_IMAGE_NAME = re.compile("image|mask", re.IGNORECASE)
# What a script is given by position has no name: there, a URL that is plainly a picture's is one.
_POSITIONAL = {"args", "script_args"}
_IMAGE_URL = re.compile(r"s3://\S+|https?://[^\s?#]+\.(png|jpe?g|webp|gif|bmp)([?#]\S*)?", re.IGNORECASE)
# A longer text among the parameters is data.
_LONGEST_PARAMETER = 8192
# The tasks that enlarge pictures: no model draws, and there is no header.
EXTRAS = {Task.EXTRA_SINGLE_IMAGE, Task.EXTRA_BATCH_IMAGES}


@dataclass(frozen=True)
class Asked:
    """What a job asks the web UI for.

    Attributes:
        body: The request body; images in it may still be URLs.
        model: The checkpoint that is to draw, or None.
    """

    body: dict[str, Any]
    model: str | None


def asked(job: Job, content: Mapping[str, Any]) -> Asked:
    """Return what `job` asks for with `content`, which is left as it is.

    Raises:
        PermanentError: The content contradicts itself.
    """
    body = {name: value for name, value in content.items() if name not in {"alwayson_scripts", "s3_output_path"}}
    header = content.get("alwayson_scripts") or {}
    if not isinstance(header, dict):
        raise PermanentError("invalid-content", "`alwayson_scripts` must be an object")
    if job.task in EXTRAS:
        return Asked(body, None)

    overrides = dict(_object(body, "override_settings")) | _object(header, "override_settings")
    if header.get("sd_vae"):
        overrides["sd_vae"] = header["sd_vae"]
    # The web UI would draw with whatever is loaded if it did not know the name: we load the model and say nothing.
    overridden = overrides.pop("sd_model_checkpoint", None)
    body["override_settings"] = overrides

    scripts = {
        name: _linked(value) if name.casefold() == "controlnet" else value
        for name, value in header.items()
        if name not in HEADER_FIELDS and name != "override_settings"
    }
    if scripts:
        body["alwayson_scripts"] = scripts
    if job.task is Task.IMAGE_TO_IMAGE and (links := _links(header.get("image_link"))):
        body["init_images"] = links

    # With its seed drawn here, a job that is delivered again makes the same pictures again.
    for name in ("seed", "subseed"):
        if body.get(name) in (None, "", -1):
            digest = hashlib.sha256(f"{name} of {job.key}".encode()).digest()
            body[name] = int.from_bytes(digest[:4]) % (2**32 - 1)
    body["send_images"] = True
    return Asked(body, overridden or header.get("sd_model_checkpoint") or None)


def urls(body: Any) -> list[str]:
    """Return the URLs in fields that carry an image; a URL in a prompt is text."""
    found: list[str] = []

    def note(text: str) -> str:
        if _URL.match(text):
            found.append(text)
        return text

    _map_images(body, note)
    return found


def embedded(body: dict[str, Any], data: Mapping[str, bytes]) -> dict[str, Any]:
    """Return `body` with each URL of an image replaced by what is there, in base64."""
    mapped = _map_images(body, lambda text: base64.b64encode(data[text]).decode("ascii") if text in data else text)
    return dict(mapped)


def parameters(echoed: Any) -> dict[str, Any]:
    """Return the parameters that the web UI echoes, without image data and nulls; none that could not be stored."""
    if unsound(echoed):
        return {}
    kept = _kept(_map_images(echoed, lambda _: ""))
    return kept if isinstance(kept, dict) else {}


def _map_images(value: Any, change: Callable[[str], str], name: str = "") -> Any:
    """Return `value` with each text that is an image changed; `name` is that of the field that `value` is in."""
    if isinstance(value, str):
        is_image = _IMAGE_NAME.search(name) or (name in _POSITIONAL and _IMAGE_URL.fullmatch(value))
        return change(value) if is_image else value
    if isinstance(value, list):
        return [_map_images(item, change, name) for item in value]
    if isinstance(value, dict):
        # `imageList` has its images in fields called `data`.
        return {key: _map_images(item, change, name if key == "data" else key) for key, item in value.items()}
    return value


def _kept(value: Any) -> Any:
    if isinstance(value, dict):
        slim = {key: _kept(item) for key, item in value.items()}
        return {key: item for key, item in slim.items() if item is not None}
    if isinstance(value, list):
        return [_kept(item) for item in value]
    return None if isinstance(value, str) and len(value) > _LONGEST_PARAMETER else value


def _object(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = fields.get(name) or {}
    if not isinstance(value, dict):
        raise PermanentError("invalid-content", f"`{name}` must be an object")
    return value


def _links(value: Any) -> list[str]:
    return [link for link in _LINK_END.split(value.strip()) if link] if isinstance(value, str) else []


def _linked(script: Any) -> Any:
    """Return ControlNet's arguments with the guidance's `image_link` of a unit under ControlNet's own name."""
    if not isinstance(script, dict) or not isinstance(script.get("args"), list):
        return script
    return script | {"args": [_linked_unit(unit) if isinstance(unit, dict) else unit for unit in script["args"]]}


def _linked_unit(unit: dict[str, Any]) -> dict[str, Any]:
    if not unit.get("image_link"):
        return unit
    return {name: value for name, value in unit.items() if name != "image_link"} | {"input_image": unit["image_link"]}
