"""The ways from noise to a picture, on a network that always sees the same picture."""

from itertools import pairwise

import numpy as np
import pytest

from webui.tiny.engine import Drawing, Start, noise
from webui.tiny.layers import Floats
from webui.tiny.network import NOISE_SHAPE
from webui.tiny.sampling import Method, Spacing, times, walk

TARGET = np.full((1, 16, 16, 3), 0.5, np.float32)


@pytest.mark.parametrize("spacing", ["shifted", "uniform", "karras"])
@pytest.mark.parametrize("steps", [1, 2, 20])
def test_times_fall_from_noise_to_picture(spacing: Spacing, steps: int) -> None:
    grid = times(steps, spacing)
    assert (len(grid), grid[0], grid[-1]) == (steps + 1, 1, 0)
    assert all(before > after for before, after in pairwise(grid))


@pytest.mark.parametrize("method", ["euler", "ancestral", "multistep"])
def test_every_method_keeps_the_noise_at_the_level_that_the_time_says(method: Method) -> None:
    levels: list[tuple[float, float]] = []

    def denoise(noisy: Floats, time: float) -> Floats:
        levels.append((time, float((noisy - TARGET * (1 - time)).std())))
        return TARGET

    rng = np.random.default_rng(0)
    start = rng.standard_normal((1, 16, 16, 3), np.float32)
    *_, last = walk(denoise, start, times(10, "uniform"), method, [rng])
    assert np.array_equal(last, TARGET)
    for time, level in levels:
        assert level == pytest.approx(time, rel=0.1)


def test_a_drawing_enters_later_the_less_it_may_change() -> None:
    latent = np.zeros(NOISE_SHAPE, np.float32)
    grids = [Drawing("", (1,), steps=20, start=Start(latent, strength)).grid for strength in (0.0, 0.5, 0.75, 1.0)]
    assert [len(grid) - 1 for grid in grids] == [1, 11, 16, 20]


def test_a_variation_seed_bends_the_noise_without_weakening_it() -> None:
    plain, bent, other = (
        noise(Drawing("", (1,), subseeds=(2,), subseed_strength=strength)) for strength in (0.0, 0.3, 1.0)
    )
    assert float(np.abs(plain - bent).mean()) < float(np.abs(plain - other).mean())
    assert bent.std() == pytest.approx(1, abs=0.05)
    assert np.allclose(other, noise(Drawing("", (2,))), atol=1e-6)
