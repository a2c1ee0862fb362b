"""Pictures at the edges: base64, PNG with its generation parameters, sizes, and what pngs carry as text."""

import base64
import binascii
import io
import json
import math
import re
import warnings
from collections.abc import Mapping

import numpy as np
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from webui.tiny.layers import Floats
from webui.tiny.network import PIXELS

LARGEST_SIDE = 4096
"""Of a picture sent to the server or made by upscaling, in pixels."""

PARAMETER = re.compile(r'\s*([\w /-]+):\s*("(?:\\.|[^"\\])*"|[^,]*)(?:,|$)')
UPSCALERS = {"Nearest": Image.Resampling.NEAREST, "Lanczos": Image.Resampling.LANCZOS}


class InvalidImageError(ValueError):
    """What was sent is no picture that can be read, or too large a one."""


def decode(text: str) -> Image.Image:
    """Reads base64, with or without a `data:` prefix. Raises `InvalidImageError`."""
    encoded = text.partition(",")[2] if text.startswith("data:") else text
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(base64.b64decode(encoded, validate=True)))
            if max(image.size) > LARGEST_SIDE:
                raise InvalidImageError(f"larger than {LARGEST_SIDE} pixels")
            image.load()
    except (binascii.Error, UnidentifiedImageError, OSError, SyntaxError, Warning) as error:
        raise InvalidImageError(str(error)) from error
    return image


def encode(image: Image.Image, infotext: str | None = None) -> str:
    """A base64 PNG, `infotext` in its text chunk `parameters`."""
    buffer, text = io.BytesIO(), PngImagePlugin.PngInfo()
    if infotext:
        text.add_text("parameters", infotext)
    image.save(buffer, "PNG", pnginfo=text)
    return base64.b64encode(buffer.getvalue()).decode()


def from_floats(pixels: Floats) -> Image.Image:
    """(h, w, 3) of -1 to 1 as a picture."""
    return Image.fromarray(((pixels + 1) * 127.5).round().astype(np.uint8))


def to_floats(image: Image.Image) -> Floats:
    """The centre square of a picture at the model's size: (128, 128, channels), -1 to 1; the inverse of `spread`."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    pixels = np.asarray(image.resize((PIXELS, PIXELS), Image.Resampling.LANCZOS, box), np.float32) / 127.5 - 1
    return pixels.reshape(PIXELS, PIXELS, -1)


def spread(image: Image.Image, width: int, height: int) -> Image.Image:
    """A square picture at any size: scaled to the shorter side, its border drawn out along the longer one."""
    side = min(width, height)
    square = np.asarray(image.resize((side, side), Image.Resampling.LANCZOS))
    left, top = (width - side) // 2, (height - side) // 2
    margins = ((top, height - side - top), (left, width - side - left), (0, 0))
    return Image.fromarray(np.pad(square, margins, "edge"))


def flatten(image: Image.Image) -> Image.Image:
    """As RGB, on white where it is transparent."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), layer).convert("RGB")


def resize(image: Image.Image, width: int, height: int, mode: int) -> Image.Image:
    """To a size: 0 stretches, 1 cuts off what does not fit, 2 fits it in and draws its border out."""
    if mode == 0:
        return image.resize((width, height), Image.Resampling.LANCZOS)
    choose = max if mode == 1 else min
    factor = choose(width / image.width, height / image.height)
    inner = image.resize(
        (max(1, round(image.width * factor)), max(1, round(image.height * factor))), Image.Resampling.LANCZOS
    )
    left, top = (width - inner.width) // 2, (height - inner.height) // 2
    if mode == 1:
        return inner.crop((-left, -top, width - left, height - top))
    pixels = np.asarray(inner)
    margins = [(top, height - inner.height - top), (left, width - inner.width - left)]
    return Image.fromarray(np.pad(pixels, [*margins, (0, 0)][: pixels.ndim], "edge"))


def grid(pictures: list[Image.Image]) -> Image.Image:
    """All pictures on one sheet without a gap, as near to a square as their number allows."""
    rows = max(rows for rows in range(1, math.isqrt(len(pictures)) + 1) if len(pictures) % rows == 0)
    columns = len(pictures) // rows
    width, height = pictures[0].size
    sheet = Image.new("RGB", (columns * width, rows * height))
    for index, picture in enumerate(pictures):
        sheet.paste(picture, (index % columns * width, index // columns * height))
    return sheet


def write_infotext(prompt: str, negative: str, parameters: Mapping[str, object]) -> str:
    """Generation parameters as Stable Diffusion Web UI writes them into its pictures."""

    def quote(value: object) -> str:
        text = str(value)
        return json.dumps(text, ensure_ascii=False) if any(mark in text for mark in ",:\n") else text

    last = ", ".join(f"{key}: {quote(value)}" for key, value in parameters.items())
    return "\n".join([prompt, *([f"Negative prompt: {negative}"] if negative else []), last])


def read_infotext(text: str) -> dict[str, str]:
    """The parameters in a text that `write_infotext` or Stable Diffusion Web UI wrote, as far as there are any."""
    *lines, last = text.strip().split("\n")
    found = {key.strip(): value for key, value in PARAMETER.findall(last)}
    if "Steps" not in found:
        lines, found = [*lines, last], {}
    prompt, _, negative = "\n".join(lines).partition("Negative prompt:")
    values = {key: str(json.loads(value)) if value.startswith('"') else value.strip() for key, value in found.items()}
    return {"Prompt": prompt.strip(), "Negative prompt": negative.strip()} | values
