"""What the command line asks for, as a job's input."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# What a job carries along for whoever lists it, as the console does; more would only make its messages large.
MOST_REMEMBERED = 32 * 1024


class UsageError(ValueError):
    """An option has a value that makes no sense; `option` is its name."""

    def __init__(self, option: str, problem: str) -> None:
        super().__init__(problem)
        self.option = option


def drawing(
    prompt: str,
    *,
    negative: str | None = None,
    size: str | None = None,
    steps: int | None = None,
    seed: int | None = None,
    count: int | None = None,
    image: str | None = None,
    strength: float | None = None,
) -> dict[str, Any]:
    """Return the body of a request to draw, with what was named alone: the rest is the server's to choose.

    Args:
        size: `512`, or `768x512`.
        image: What a picture starts from, as jobs call it.
        strength: How much of that may change, from 0 to 1.

    Raises:
        UsageError: The size is none.
    """
    width, height = _size(size) if size else (None, None)
    body = {
        "prompt": prompt,
        "negative_prompt": negative,
        "width": width,
        "height": height,
        "steps": steps,
        "seed": seed,
        "batch_size": count,
        "init_images": [image] if image else None,
        "denoising_strength": strength,
    }
    return {name: value for name, value in body.items() if value is not None}


def fields(given: Sequence[str]) -> dict[str, Any]:
    """Return fields that are given as `name=value`; a value that is JSON is what it says, any other is a text.

    Raises:
        UsageError: One is not of that form.
    """
    found: dict[str, Any] = {}
    for each in given:
        name, equals, text = each.partition("=")
        if not name or not equals:
            raise UsageError("--input", f"{each!r} is not of the form name=value")
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    return found


def workflow(path: Path) -> dict[str, Any]:
    """Return the ComfyUI workflow in a file, in the API format.

    Raises:
        UsageError: The file is none.
    """
    try:
        graph = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError("--workflow", f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError("--workflow", f"{path} is not JSON: {error}") from error
    if not isinstance(graph, dict):
        raise UsageError("--workflow", f"{path} is not a JSON object")
    # As ComfyUI's own API takes it.
    inner = graph.get("prompt")
    return inner if isinstance(inner, dict) and "class_type" not in inner else graph


def remembered(model: str | None, asked: dict[str, Any]) -> dict[str, Any]:
    """Return the context of a job: what it asked for, so that lists can tell, unless that is large."""
    context = {"asked": {"model": model, "input": asked} if model else {"input": asked}}
    return context if len(json.dumps(context)) <= MOST_REMEMBERED else {}


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    try:
        return int(width), int(height or width)
    except ValueError as error:
        raise UsageError("--size", f"{text!r} is no size: say 512 or 768x512") from error
