"""Procedural pictures and the captions that describe them: the model's whole training data.

A scene is one shape, or two side by side, on a plain background. Coordinates run from -1 (left, top) to +1 (right,
bottom); a radius of 1 therefore fills the picture. Some combinations of shape, colour and background are never drawn
for training (`is_held_out`), so that the evaluation can ask for what the model has not seen.
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Floats = NDArray[np.float32]
Size = Literal["small", "normal", "big"]
Point = tuple[float, float]
RGB = tuple[float, float, float]

SIDE = 128
"""Width and height of a picture, in pixels."""

LATENT_SIDE = 32
"""Width and height of a latent, in cells of 4x4 pixels."""

CANVAS = 512
"""Shapes are filled without anti-aliasing on a canvas of this side, then averaged down."""

COLORS = {
    "red": (220, 38, 38),
    "orange": (245, 140, 30),
    "yellow": (242, 210, 40),
    "green": (34, 160, 70),
    "cyan": (45, 200, 220),
    "blue": (40, 80, 220),
    "purple": (135, 55, 190),
    "pink": (245, 130, 180),
    "white": (250, 250, 250),
    "gray": (130, 130, 130),
    "black": (20, 20, 20),
}
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "heart", "diamond")
RADII: dict[Size, Point] = {"small": (0.27, 0.34), "normal": (0.46, 0.58), "big": (0.74, 0.84)}
"""Smallest and largest radius of each size."""

PAIR_RADII = (0.34, 0.42)
POSITIONS = {
    "left": (-1, 0),
    "right": (1, 0),
    "top": (0, -1),
    "bottom": (0, 1),
    "top left": (-1, -1),
    "top right": (1, -1),
    "bottom left": (-1, 1),
    "bottom right": (1, 1),
    "center": (0, 0),
}
COLOR_JITTER = 2.0
"""Standard deviation of a colour around its table entry, in levels of 0 to 255."""

# Words that carry the meaning; the tokenizer drops all others. Several spellings share one token.
WORDS = (
    *COLORS, *SHAPES, "small", "big", "left", "right", "top", "bottom", "center", "a", "and", "on", "background",
)  # fmt: skip
SYNONYMS = {
    "grey": "gray", "violet": "purple", "disc": "circle", "disk": "circle", "box": "square", "plus": "cross",
    "donut": "ring", "rhombus": "diamond", "little": "small", "tiny": "small", "large": "big", "huge": "big",
    "centre": "center", "middle": "center", "upper": "top", "lower": "bottom", "an": "a",
}  # fmt: skip


@dataclass(frozen=True)
class Thing:
    """One coloured shape: its centre (`x`, `y`), radius, and the exact `rgb` (0 to 255) that `color` became."""

    shape: str
    color: str
    x: float
    y: float
    radius: float
    rgb: RGB


@dataclass(frozen=True)
class Scene:
    """What a picture shows, and one caption for it."""

    things: tuple[Thing, ...]
    background: str
    background_rgb: RGB
    caption: str


def is_held_out(shape: str, color: str, background: str) -> bool:
    """Whether no training picture may show this shape in this colour on this background (one triple in ten).

    The sum makes each colour, shape and pair of them appear in training, just not in every combination.
    """
    index = SHAPES.index(shape) * 3 + list(COLORS).index(color) * 7 + list(COLORS).index(background)
    return index % 10 == 0


@cache
def outline(shape: str) -> tuple[Point, ...]:
    """Corners of the polygon that stands for `shape` at radius 1 around the origin."""
    turn = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    if shape in {"circle", "ring"}:
        x, y = np.cos(turn), np.sin(turn)
    elif shape == "square":
        x, y = np.array([-1, 1, 1, -1]) * 0.85, np.array([-1, -1, 1, 1]) * 0.85
    elif shape == "diamond":
        x, y = np.array([0, 0.74, 0, -0.74]), np.array([-1, 0, 1, 0])
    elif shape == "triangle":
        x, y = np.array([0, 1, -1]), np.array([-0.95, 0.8, 0.8])
    elif shape == "cross":
        x = np.array([-1, 1, 1, 3, 3, 1, 1, -1, -1, -3, -3, -1]) / 3
        y = np.array([-3, -3, -1, -1, 1, 1, 3, 3, 1, 1, -1, -1]) / 3
    elif shape == "star":
        tip = np.arange(10) * np.pi / 5
        reach = np.where(np.arange(10) % 2 == 0, 1.05, 0.42)
        x, y = np.sin(tip) * reach, 0.06 - np.cos(tip) * reach
    elif shape == "heart":
        x = np.sin(turn) ** 3
        y = -(13 * np.cos(turn) - 5 * np.cos(2 * turn) - 2 * np.cos(3 * turn) - np.cos(4 * turn)) / 16 - 0.12
    else:
        raise ValueError(f"{shape}: not one of {', '.join(SHAPES)}")
    return tuple((float(a), float(b)) for a, b in zip(x, y, strict=True))


def cover(thing: Thing, side: int) -> Floats:
    """How much of each cell `thing` covers: (side, side), 0 to 1; `side` divides `CANVAS`."""

    def polygon(radius: float) -> list[Point]:
        return [
            ((thing.x + a * radius + 1) * CANVAS / 2 - 0.5, (thing.y + b * radius + 1) * CANVAS / 2 - 0.5)
            for a, b in outline(thing.shape)
        ]

    canvas = Image.new("L", (CANVAS, CANVAS))
    draw = ImageDraw.Draw(canvas)
    draw.polygon(polygon(thing.radius), fill=255)
    if thing.shape == "ring":
        draw.polygon(polygon(thing.radius * 0.58), fill=0)
    return np.asarray(canvas.reduce(CANVAS // side)).astype(np.float32) / np.float32(255)


def draw(scene: Scene, side: int = SIDE) -> Floats:
    """The picture: (side, side, 3), -1 (black) to 1.

    At `LATENT_SIDE` this is the latent itself: averaging 4x4 pixels commutes with mixing colours by coverage.
    """
    pixels: Floats = np.broadcast_to(np.array(scene.background_rgb, np.float32), (side, side, 3))
    for thing in scene.things:
        alpha = cover(thing, side)[..., None]
        pixels = alpha * np.array(thing.rgb, np.float32) + (1 - alpha) * pixels
    return pixels / np.float32(127.5) - 1


def jitter(color: str, rng: np.random.Generator) -> RGB:
    """`color` as red, green, blue (0 to 255), slightly off its table entry."""
    r, g, b = np.clip(np.array(COLORS[color]) + rng.normal(0, COLOR_JITTER, 3), 0, 255)
    return float(r), float(g), float(b)


def place(position: str, radius: float, rng: np.random.Generator) -> Point:
    """Centre of a thing of this radius at `position`; an empty position leaves it loosely in the middle."""
    room = max(0.0, 0.96 - radius)
    if not position:
        slack = min(room, 0.16)
        return float(rng.uniform(-slack, slack)), float(rng.uniform(-slack, slack))
    x, y = (side * room * rng.uniform(0.8, 1.0) + (not side) * min(room, 0.05) * rng.uniform(-1, 1)
            for side in POSITIONS[position])  # fmt: skip
    return float(x), float(y)


def compose(
    looks: tuple[tuple[str, str], ...],
    background: str,
    caption: str,
    rng: np.random.Generator,
    size: Size = "normal",
    position: str = "",
) -> Scene:
    """A scene of one or two (shape, colour) `looks`; two stand left and right and take neither size nor position."""
    if len(looks) == 1:
        radii, spots = [float(rng.uniform(*RADII[size]))], [position]
    else:
        radii, spots = [float(rng.uniform(*PAIR_RADII)) for _ in looks], ["left", "right"]
    things = []
    for (shape, color), radius, spot in zip(looks, radii, spots, strict=True):
        x, y = place(spot, radius, rng)
        if len(looks) == 2:
            x = float((-0.5 if spot == "left" else 0.5) + rng.uniform(-0.04, 0.04))
        things.append(Thing(shape, color, x, y, radius, jitter(color, rng)))
    return Scene(tuple(things), background, jitter(background, rng), caption)


def describe(looks: tuple[tuple[str, str], ...], background: str, size: str, position: str, choice: int) -> str:
    """A caption; `choice` picks one of the wordings. An empty string in any place leaves that property out."""
    article = "a " if choice % 2 else ""
    names = [" ".join(word for word in (size, color, shape) if word) for shape, color in looks]
    place_words = ("", f" {position}", f" on {position}")[0 if not position else 1 + choice % 2]
    grounds = ("", f" {background} background", f" on a {background} background", f" on {background}")
    return article + f" and {article}".join(names) + place_words + grounds[0 if not background else 1 + choice % 3]


def sample(rng: np.random.Generator) -> Scene:
    """A random training scene: never one that is held out, and sometimes with properties that the caption omits."""
    colors = list(COLORS)
    while True:
        count = 2 if rng.random() < 0.2 else 1
        looks = tuple((str(rng.choice(SHAPES)), str(rng.choice(colors))) for _ in range(count))
        plain = rng.random() < 0.35
        background = "white" if plain else str(rng.choice(colors))
        clash = any(color == background or is_held_out(shape, color, background) for shape, color in looks)
        if not clash:
            break
    size: Size = "normal"
    position = ""
    if count == 1:
        size = rng.choice(["small", "normal", "big"], p=[0.25, 0.5, 0.25])
        if size != "big" and rng.random() < 0.35:
            position = str(rng.choice(list(POSITIONS)))
    told = looks
    if rng.random() < 0.1:
        drop_shape = rng.random() < 0.5
        told = tuple(("", color) if drop_shape else (shape, "") for shape, color in looks)
    caption = describe(
        told, "" if plain else background, "" if size == "normal" else size, position, int(rng.integers(6))
    )
    return compose(looks, background, caption, rng, size, position)
