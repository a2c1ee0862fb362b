"""From noise to a picture: time grids and the samplers that walk them.

The path is straight: z = (1 - t) x + t noise, for t from 1 (noise) to 0 (picture). A sampler asks the network for x at
each time and yields the answer, so its last estimate is the picture and an earlier one is the best picture so far.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from webui.tiny.layers import Floats

Denoise = Callable[[Floats, float], Floats]
Spacing = Literal["shifted", "uniform", "karras"]
Method = Literal["euler", "ancestral", "multistep"]

SHIFT = 3.0
"""How far times are moved towards noise; the network was trained with the same."""

KARRAS_RHO = 7.0
KARRAS_FIRST, KARRAS_LAST = 200.0, 0.03
"""Largest and smallest noise level t / (1 - t) of the Karras spacing."""


@dataclass(frozen=True)
class Sampler:
    """A sampler under the names that clients know it by."""

    name: str
    aliases: tuple[str, ...]
    method: Method
    spacing: Spacing = "shifted"


SAMPLERS = (
    Sampler("Euler", ("k_euler",), "euler"),
    Sampler("Euler a", ("k_euler_a", "k_euler_ancestral"), "ancestral"),
    Sampler("DPM++ 2M", ("k_dpmpp_2m",), "multistep"),
    Sampler("DPM++ 2M Karras", ("k_dpmpp_2m_ka",), "multistep", "karras"),
    Sampler("DDIM", ("ddim",), "euler"),  # on a straight path, a DDIM step without noise is Euler's
)
SCHEDULERS: dict[str, tuple[str, Spacing | None]] = {
    "automatic": ("Automatic", None),
    "uniform": ("Uniform", "uniform"),
    "karras": ("Karras", "karras"),
    "shifted": ("Shifted", "shifted"),
}
"""Label and spacing by name; `automatic` leaves the choice to the sampler."""


def times(steps: int, spacing: Spacing) -> list[float]:
    """`steps` + 1 falling times from 1 to 0."""
    even = np.linspace(1, 0, steps + 1)
    if spacing == "karras":
        ramp = np.linspace(KARRAS_FIRST ** (1 / KARRAS_RHO), KARRAS_LAST ** (1 / KARRAS_RHO), steps) ** KARRAS_RHO
        inner = ramp / (1 + ramp)
        return [1.0, *map(float, inner[1:]), 0.0]
    return [float(t) for t in (SHIFT * even / (1 + (SHIFT - 1) * even) if spacing == "shifted" else even)]


def walk(
    denoise: Denoise, noisy: Floats, grid: list[float], method: Method, rngs: list[np.random.Generator]
) -> Iterator[Floats]:
    """Yields the estimate of the picture at each time of `grid` but the last.

    Args:
        denoise: Clean latents from noisy ones and their time.
        noisy: Where to start, at the first time of `grid`: (n, h, w, c).
        grid: Falling times, the last of them 0.
        method: How to get from one time to the next.
        rngs: One generator for each picture, for the noise that `ancestral` adds.
    """
    previous: Floats | None = None
    for index, (time, target) in enumerate(pairwise(grid)):
        estimate = denoise(noisy, time)
        yield estimate
        if target == 0:
            return
        ahead = estimate
        if method == "multistep" and previous is not None:
            # The line through the last two estimates, drawn over the log of the signal-to-noise ratio.
            step, before = _log_ratio(target) - _log_ratio(time), _log_ratio(time) - _log_ratio(grid[index - 1])
            change: Floats = estimate - previous
            ahead = estimate + change * np.float32(step / (2 * before))
        previous = estimate
        noise: Floats = noisy - ahead * np.float32(1 - time)
        noise = noise / np.float32(time)
        if method == "ancestral":
            fresh = np.stack([rng.standard_normal(noisy.shape[1:], np.float32) for rng in rngs])
            keep = np.float32(np.sqrt(1 - target**2))
            noise = noise * keep + fresh * np.float32(target)
        noisy = ahead * np.float32(1 - target) + noise * np.float32(target)


def _log_ratio(time: float) -> float:
    return float(np.log((1 - time) / time)) if time < 1 else -1e9  # pure noise: infinitely far from any other time
