"""Draws pictures: what one request asks for, step by step, so that a caller sees progress and may stop at any time."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from webui.tiny.layers import Floats
from webui.tiny.network import NOISE_SHAPE, Network
from webui.tiny.sampling import Method, Spacing, times, walk

GUIDED_DOWN_TO = 0.6
"""Time below which guidance stops: by then it is decided what the picture shows, and more of it would only bend the
colours. It also spares half of the work of those steps."""


@dataclass(frozen=True)
class Start:
    """A picture to start from: its latent (32, 32, 3), how much of it may change, and where.

    `strength` is 0 (hardly anything) to 1 (everything). `mask` (32, 32, 1) is 1 where the picture may change.
    """

    latent: Floats
    strength: float
    mask: Floats | None = None


@dataclass(frozen=True)
class Drawing:
    """One batch: the same prompt, one picture for each seed.

    The same seed gives the same picture whatever else is in the batch. `subseeds` and `subseed_strength` (0 to 1) bend
    the noise towards that of other seeds. A `scale` of 1 follows the prompt alone; above, it also moves away from
    `negative`.
    """

    prompt: str
    seeds: tuple[int, ...]
    negative: str = ""
    steps: int = 20
    scale: float = 7.0
    method: Method = "euler"
    spacing: Spacing = "shifted"
    subseeds: tuple[int, ...] = ()
    subseed_strength: float = 0.0
    start: Start | None = None

    @property
    def grid(self) -> list[float]:
        """The times to walk; a start enters at the one that its strength names, as in Stable Diffusion Web UI."""
        grid = times(self.steps, self.spacing)
        if self.start is None:
            return grid
        return grid[self.steps - 1 - int(min(self.start.strength, 0.999) * self.steps) :]


def noise(drawing: Drawing) -> Floats:
    """The noise that a drawing's seeds stand for: (n, 32, 32, 3)."""
    ours = np.stack([_gaussian(seed) for seed in drawing.seeds])
    if not drawing.subseed_strength:
        return ours
    # Along the arc between the two, since a straight mix of noises would be weaker than noise.
    theirs = np.stack([_gaussian(seed) for seed in drawing.subseeds])
    angle = drawing.subseed_strength * np.pi / 2
    mixed: Floats = ours * np.float32(np.cos(angle)) + theirs * np.float32(np.sin(angle))
    return mixed


def draw(network: Network, drawing: Drawing) -> Iterator[Floats]:
    """Yields the picture's latents (n, 32, 32, 3) as estimated after each step; the last are the result.

    Whoever stops iterating cancels the rest. `Network.decode` makes pictures of any of them.
    """
    count = len(drawing.seeds)
    prompt = network.read([drawing.prompt] * count)
    both_prompts = network.read([drawing.prompt] * count + [drawing.negative] * count)

    def denoise(noisy: Floats, time: float) -> Floats:
        if drawing.scale == 1 or time < GUIDED_DOWN_TO:
            return _keep(network.denoise(noisy, time, prompt), drawing.start)
        both = network.denoise(np.concatenate([noisy, noisy]), time, both_prompts)
        wanted, unwanted = both[:count], both[count:]
        return _keep(unwanted + (wanted - unwanted) * np.float32(drawing.scale), drawing.start)

    grid, noisy = drawing.grid, noise(drawing)
    if drawing.start is not None:
        noisy = np.float32(1 - grid[0]) * drawing.start.latent + np.float32(grid[0]) * noisy
    rngs = [np.random.default_rng((seed, 1)) for seed in drawing.seeds]  # other numbers than the starting noise's
    yield from walk(denoise, noisy, grid, drawing.method, rngs)


def _keep(estimate: Floats, start: Start | None) -> Floats:
    """Puts back what may not change."""
    if start is None or start.mask is None:
        return estimate
    return start.mask * estimate + (1 - start.mask) * start.latent


def _gaussian(seed: int) -> Floats:
    return np.random.default_rng(seed).standard_normal(NOISE_SHAPE, np.float32)
