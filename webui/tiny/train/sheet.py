"""A sheet of samples with their prompts, for the README."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from webui.tiny.engine import Drawing, draw
from webui.tiny.images import from_floats
from webui.tiny.network import PIXELS, Network

PROMPTS = (
    "a red circle", "a blue square on yellow", "a yellow star on a black background", "a green heart",
    "a purple ring", "a big orange triangle", "a white diamond on blue", "a pink cross on a gray background",
    "a small cyan star", "a small black heart on top left", "a gray square on right on purple",
    "a small orange ring on bottom on blue", "a red circle and a blue square",
    "a yellow star and a green triangle on purple", "a white heart and a black cross on pink", "a cyan diamond on red",
)  # fmt: skip
COLUMNS = 4
MARGIN = 8
CAPTION = 18
STEPS = 20
SCALE = 7.0


def make(model: Path, path: Path, seed: int) -> None:
    """Draws `PROMPTS`, each with the next seed, and writes the sheet to `path`."""
    network, font = Network(model), ImageFont.load_default(11)
    width, height = PIXELS * 2 + MARGIN, PIXELS + CAPTION + MARGIN
    rows = -(-len(PROMPTS) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * width + MARGIN, rows * height + MARGIN), (236, 236, 236))
    pen = ImageDraw.Draw(sheet)
    for index, prompt in enumerate(PROMPTS):
        *_, latents = draw(network, Drawing(prompt, (seed, seed + 1), steps=STEPS, scale=SCALE))
        x, y = MARGIN + index % COLUMNS * width, MARGIN + index // COLUMNS * height
        sheet.paste(from_floats(np.concatenate(list(network.decode(latents)), 1)), (x, y))
        pen.text((x + 2, y + PIXELS + 2), prompt, "black", font)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, optimize=True)
