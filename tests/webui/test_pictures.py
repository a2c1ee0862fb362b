"""What the shipped model draws, checked pixel by pixel without any library but numpy."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from webui.tiny.engine import Drawing, draw
from webui.tiny.network import Network
from webui.tiny.train.scenes import COLORS, is_held_out

Levels = NDArray[np.floating[Any]]


def picture(network: Network, prompt: str, seed: int = 1) -> Levels:
    """One picture, 0 to 255."""
    *_, latents = draw(network, Drawing(prompt, (seed,)))
    pixels: Levels = (network.decode(latents)[0].astype(np.float64) + 1) * 127.5
    return pixels


def nearest_color(rgb: Levels) -> str:
    """The name of the closest of the model's colours."""
    return min(COLORS, key=lambda name: float(np.linalg.norm(rgb - np.array(COLORS[name]))))


def background(pixels: Levels) -> str:
    """The colour of most of the border."""
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return nearest_color(np.median(border, 0))


def thing(pixels: Levels) -> tuple[str, NDArray[np.bool_]]:
    """The colour of what is not background, and where it is."""
    border = np.median(np.concatenate([pixels[0], pixels[-1]]), 0)
    mask = np.linalg.norm(pixels - border, axis=-1) > 60
    return nearest_color(np.median(pixels[mask], 0)), mask


@pytest.mark.parametrize(
    ("color", "shape", "ground"),
    [
        ("red", "circle", "white"),
        ("blue", "square", "yellow"),
        ("yellow", "heart", "black"),
        ("white", "ring", "blue"),
        ("green", "triangle", "pink"),
        ("black", "cross", "orange"),
    ],
)
def test_a_picture_has_the_colours_that_its_prompt_names(network: Network, color: str, shape: str, ground: str) -> None:
    pixels = picture(network, f"a {color} {shape} on a {ground} background")
    assert background(pixels) == ground
    assert thing(pixels)[0] == color


@pytest.mark.parametrize(("color", "shape", "ground"), [("purple", "star", "gray"), ("red", "heart", "yellow")])
def test_combinations_that_training_never_showed_are_drawn_all_the_same(
    network: Network, color: str, shape: str, ground: str
) -> None:
    assert is_held_out(shape, color, ground)
    pixels = picture(network, f"a {color} {shape} on a {ground} background")
    assert (thing(pixels)[0], background(pixels)) == (color, ground)


def test_white_is_the_background_when_none_is_named(network: Network) -> None:
    assert background(picture(network, "a green circle")) == "white"


def test_big_is_bigger_than_small(network: Network) -> None:
    small, big = (int(thing(picture(network, f"a {size} red circle"))[1].sum()) for size in ("small", "big"))
    assert big > 3 * small


def test_things_are_where_the_prompt_puts_them(network: Network) -> None:
    for place, (x, y) in {"left": (-1, 0), "right": (1, 0), "top": (0, -1), "bottom": (0, 1)}.items():
        rows, columns = np.nonzero(thing(picture(network, f"a small blue square on {place}"))[1])
        assert np.sign(round((columns.mean() - 64) / 24)) == x, place
        assert np.sign(round((rows.mean() - 64) / 24)) == y, place


def test_two_things_stand_side_by_side_in_the_colours_named(network: Network) -> None:
    pixels = picture(network, "a red circle and a blue square")
    assert thing(pixels[:, :64])[0] == "red"
    assert thing(pixels[:, 64:])[0] == "blue"


def test_a_ring_has_a_hole_and_a_circle_has_none(network: Network) -> None:
    for shape, has_hole in (("ring", True), ("circle", False)):
        mask = thing(picture(network, f"a big green {shape}"))[1]
        rows, columns = np.nonzero(mask)
        middle = mask[int(rows.mean()), int(columns.mean())]
        assert middle != has_hole, shape


def test_words_that_the_model_does_not_know_change_nothing(network: Network) -> None:
    plain, wordy = (
        picture(network, prompt) for prompt in ("a red circle", "masterpiece, a (red:1.2) circle <lora:x:1>")
    )
    assert np.allclose(plain, wordy, atol=0.5)


def test_a_negative_prompt_steers_away_from_what_it_names(network: Network) -> None:
    def reds(negative: str) -> int:
        *_, latents = draw(network, Drawing("circle", tuple(range(8)), negative, steps=8, scale=6))
        pictures = (network.decode(latents).astype(np.float64) + 1) * 127.5
        return sum(thing(pixels)[0] == "red" for pixels in pictures)

    assert reds(negative="red") == 0 or reds(negative="red") < reds(negative="")


def test_stopping_early_leaves_the_best_picture_so_far(network: Network) -> None:
    drawing = Drawing("a red circle", (1,), steps=8, scale=1)
    steps = [network.decode(latents)[0] for latents in draw(network, drawing)]
    assert len(steps) == 8
    errors = [float(np.abs(step - steps[-1]).mean()) for step in steps]
    assert errors == sorted(errors, reverse=True)
