"""The web UI's answers: pictures, and what is behind its errors. Pure functions."""

import base64
import binascii
import json
from typing import Any

from agent import gpu
from agent.adapter import MAX_PREVIEW_BYTES, Output
from agent.errors import JobError, PermanentError, TransientError
from agent.sdwebui.body import parameters
from agent.store import media_type

_LONGEST_DETAIL = 2000


def refusal(status: int, body: bytes) -> JobError:
    """Return the error that the web UI means by an HTTP status and a body.

    It answers 500 for nearly everything, so the body tells: an exception of its own about this request is permanent;
    trouble of the GPU, and answers that are not of its API (a proxy's, or a server that still starts), are not.
    """
    try:
        detail = json.loads(body)
    except (ValueError, RecursionError):
        detail = None
    text = body[:_LONGEST_DETAIL].decode(errors="replace") or None
    if not isinstance(detail, dict):
        permanent = 400 <= status < 500 and status not in {404, 408, 425, 429}
        kind = PermanentError if permanent else TransientError
        return kind("runtime-error", f"the web UI answered HTTP {status}", text)
    told = " ".join(_told(detail[key]) for key in ("error", "detail", "errors") if detail.get(key))
    message = f"the web UI answered HTTP {status}: {told[:300]}" if told else f"the web UI answered HTTP {status}"
    shown = detail if len(body) <= _LONGEST_DETAIL else text  # it may echo the whole request
    if gpu.is_trouble(told):
        return TransientError("gpu-error", message, shown)
    absent = status == 404 and detail == {"detail": "Not Found"}  # no such route: the API is not up yet
    if absent or status in {401, 403, 408, 425, 429, 502, 503, 504}:
        return TransientError("runtime-unavailable", message, shown)
    return PermanentError("runtime-error", message, shown)


def _told(value: Any) -> str:
    """Return the text of an error; of a list of invalid fields, each field and what is wrong with it."""
    if not isinstance(value, list):
        return str(value)
    fields = [field for field in value if isinstance(field, dict)]
    return "; ".join(f"{_place(field.get('loc'))}: {field.get('msg')}" for field in fields)


def _place(loc: Any) -> str:
    return ".".join(map(str, loc)) if isinstance(loc, list) else str(loc)


def parsed(body: bytes) -> dict[str, Any]:
    """Return the JSON object that the web UI answered with.

    Raises:
        PermanentError: It is none.
    """
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError) as error:
        text = body[:_LONGEST_DETAIL].decode(errors="replace")
        raise PermanentError("bad-answer", "the web UI's answer is not JSON", text) from error
    if not isinstance(answer, dict):
        raise PermanentError("bad-answer", "the web UI's answer is not an object")
    return answer


def info(answer: dict[str, Any]) -> dict[str, Any]:
    """Return what the web UI tells about the pictures; empty where it does not."""
    told = answer.get("info")
    try:
        told = json.loads(told) if isinstance(told, str) else told
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def drawn(answer: dict[str, Any], expected: int) -> Output:
    """Return the pictures of text-to-image or image-to-image.

    Args:
        answer: What the web UI answered.
        expected: Batch size times batches. The web UI may put a grid of the pictures before them, and extensions put
            pictures of their own behind them; all of these become extras.

    Raises:
        PermanentError: There is no picture.
    """
    told = info(answer)
    pictures = _pictures(answer.get("images"))
    first = told.get("index_of_first_image")
    start = first if isinstance(first, int) and 0 < first < len(pictures) else 0
    images = pictures[start : start + expected]
    drawn_from = told.get("all_seeds")
    seeds = [seed for seed in drawn_from if isinstance(seed, int)] if isinstance(drawn_from, list) else []
    return Output(
        images=images,
        extras=pictures[start + expected :] + pictures[:start],
        seeds=seeds[: len(images)],
        parameters=parameters(answer.get("parameters")),
    )


def enlarged(answer: dict[str, Any]) -> Output:
    """Return the pictures of the extra tasks.

    Raises:
        PermanentError: There is no picture.
    """
    images = answer["images"] if "images" in answer else [answer.get("image")]
    html = answer.get("html_info")
    return Output(images=_pictures(images), parameters={"html_info": html} if isinstance(html, str) else {})


def preview(image: Any) -> str | None:
    """Return the picture so far, which the web UI tells in base64, as a `data:` URL; None if there is none."""
    if not isinstance(image, str) or not 0 < len(image) <= MAX_PREVIEW_BYTES * 4 // 3:
        return None
    if image.startswith("data:"):
        return image
    try:
        _, content_type = media_type(base64.b64decode(image[:64]))
    except ValueError:
        return None
    return f"data:{content_type};base64,{image}"


def _pictures(images: Any) -> list[bytes]:
    if not isinstance(images, list) or not images:
        raise PermanentError("no-images", "the web UI answered without a picture")
    pictures = [_decoded(image) for image in images]
    if not all(pictures):
        raise PermanentError("no-images", "the web UI answered with an empty picture")
    return pictures


def _decoded(image: Any) -> bytes:
    if not isinstance(image, str):
        raise PermanentError("bad-answer", "the web UI answered with a picture that is no text")
    try:
        # As base64.b64decode does, without its copy of the text.
        return binascii.a2b_base64(image.rpartition(",")[2], strict_mode=True)
    except (binascii.Error, ValueError) as error:
        raise PermanentError("bad-answer", "the web UI answered with a picture that is not base64") from error
