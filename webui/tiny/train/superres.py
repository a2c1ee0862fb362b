"""Trains the decoder: latents are averages of 4x4 pixels, and it learns which sharp picture has those averages.

Half of its pictures are busier than the captions allow (up to four shapes, any colours), so that it learns edges, not
scenes. Noise and blur on the latents prepare it for those that the denoiser draws: it makes soft edges crisp again.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from webui.tiny.train import checkpoint
from webui.tiny.train.networks import Decoder, Shape
from webui.tiny.train.scenes import SHAPES, Scene, Thing, draw, sample

BATCH = 8
RATE = 2e-3
NOISE = 0.06
"""Largest standard deviation of the noise on a latent, of a range of -1 to 1."""

BLUR = 0.7
"""Largest part of a latent that comes from the mean of a cell's neighbourhood."""


def crowd(rng: np.random.Generator) -> Scene:
    """One to four shapes anywhere, of any colour and size, overlapping and cut off."""

    def rgb() -> tuple[float, float, float]:
        r, g, b = rng.uniform(0, 255, 3)
        return float(r), float(g), float(b)

    things = tuple(
        Thing(str(rng.choice(SHAPES)), "", float(rng.uniform(-1, 1)), float(rng.uniform(-1, 1)),
              float(rng.uniform(0.25, 0.85)), rgb())
        for _ in range(rng.integers(1, 5))
    )  # fmt: skip
    return Scene(things, "", rgb(), "")


def batch(seed: int, step: int) -> Tensor:
    """Pictures of one step: (BATCH, 3, 128, 128)."""
    rng = np.random.default_rng((seed, step))
    scenes = [crowd(rng) if index % 2 else sample(rng) for index in range(BATCH)]
    return torch.from_numpy(np.stack([draw(scene) for scene in scenes])).permute(0, 3, 1, 2).contiguous()


def train(work: Path, steps: int, seed: int) -> Iterator[str]:
    """Trains for `steps` and writes `work/decoder.pt`. Yields a line every 100 steps."""
    torch.manual_seed(seed)
    network = Decoder(Shape())
    optimizer = torch.optim.AdamW(network.parameters(), RATE, betas=(0.9, 0.99))
    recent, started = [], time.monotonic()
    for step in range(steps):
        pictures = batch(seed, step)
        latents = functional.avg_pool2d(pictures, 4)
        blurred = functional.avg_pool2d(latents, 3, 1, 1, count_include_pad=False)
        latents = latents.lerp(blurred, BLUR * torch.rand(BATCH, 1, 1, 1))
        noise = torch.randn_like(latents) * NOISE * torch.rand(BATCH, 1, 1, 1)
        value = functional.l1_loss(network(latents + noise), pictures)
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / 50, 2 * (steps - step) / steps)
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        recent.append(value.item())
        if (step + 1) % 100 == 0:
            speed = (step + 1) / (time.monotonic() - started)
            yield f"step {step + 1}/{steps}: L1 {np.mean(recent[-100:]):.4f}, {speed:.2f} steps/s"
    checkpoint.save(network.state_dict(), work / "decoder.pt")
