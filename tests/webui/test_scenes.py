"""The procedural pictures that the model learns from."""

import numpy as np
import pytest

from webui.tiny.layers import average
from webui.tiny.train.scenes import COLORS, LATENT_SIDE, SHAPES, SIDE, draw, is_held_out, sample


def test_training_never_shows_a_combination_that_is_held_out() -> None:
    rng = np.random.default_rng(0)
    scenes = [sample(rng) for _ in range(500)]
    shown = {(thing.shape, thing.color, scene.background) for scene in scenes for thing in scene.things}
    assert not any(is_held_out(*triple) for triple in shown)
    assert {shape for shape, _, _ in shown} == set(SHAPES)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_trained_in_every_colour_and_on_every_background(shape: str) -> None:
    allowed = [(c, b) for c in COLORS for b in COLORS if c != b and not is_held_out(shape, c, b)]
    assert {color for color, _ in allowed} == set(COLORS) == {background for _, background in allowed}


def test_about_a_tenth_is_held_out() -> None:
    triples = [(s, c, b) for s in SHAPES for c in COLORS for b in COLORS if c != b]
    assert sum(is_held_out(*triple) for triple in triples) / len(triples) == pytest.approx(0.1, abs=0.02)


def test_a_scene_drawn_small_is_the_latent_of_the_scene_drawn_large() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        scene = sample(rng)
        pooled = average(draw(scene)[None], SIDE // LATENT_SIDE)[0]
        assert np.abs(pooled - draw(scene, LATENT_SIDE)).max() < 0.02


def test_a_caption_names_every_colour_in_order() -> None:
    rng = np.random.default_rng(2)
    for _ in range(200):
        scene = sample(rng)
        words = [word for word in scene.caption.split() if word in COLORS]
        colors = [thing.color for thing in scene.things]
        assert not words or words[: len(colors)] == colors or words == [scene.background]
