"""Trains the denoiser and the text encoder together by rectified flow.

A noisy latent is z = (1 - t) x + t noise. The network predicts x; its error is weighted as if it had predicted the
velocity noise - x, of which x is the part that lies on few dimensions and is therefore the easier one to learn.
"""

import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from webui.tiny.train import checkpoint
from webui.tiny.train.networks import Denoiser, Shape
from webui.tiny.train.optimizer import optimizers
from webui.tiny.train.scenes import LATENT_SIDE, draw, sample

BATCH = 32
RATE = 2e-3
WARM_UP = 50
DECAY_FROM = 0.33
"""Part of the run after which the learning rate falls, linearly to 0."""

AVERAGE = 0.998
"""How much of the averaged weights stays at each step."""

CAPTION_DROP = 0.1
"""Part of the captions left empty, which classifier-free guidance needs."""

SHIFT = 3.0
"""Moves times towards noise, where a latent this redundant decides what it shows. The sampler uses the same."""

TIME_FLOOR = 0.1
"""Below this time the weight of an error stops growing."""

SAVE_EVERY = 200


def batch(seed: int, step: int) -> tuple[Tensor, list[str]]:
    """Latents (BATCH, 12, 16, 16) and captions of one step: the same in every run."""
    rng = np.random.default_rng((seed, step))
    scenes = [sample(rng) for _ in range(BATCH)]
    pictures = torch.from_numpy(np.stack([draw(scene, LATENT_SIDE) for scene in scenes])).permute(0, 3, 1, 2)
    captions = ["" if rng.random() < CAPTION_DROP else scene.caption for scene in scenes]
    return functional.pixel_unshuffle(pictures, 2).contiguous(memory_format=torch.channels_last), captions


def rate(step: int, steps: int) -> float:
    """Learning rate: warm-up, constant, linear fall."""
    remaining = (steps - step) / (steps * (1 - DECAY_FROM))
    return RATE * min(1.0, (step + 1) / WARM_UP, remaining)


def loss(network: Denoiser, latents: Tensor, ids: Tensor) -> Tensor:
    """Weighted squared error at random times."""
    normal = torch.randn(len(latents)).sigmoid()
    time = SHIFT * normal / (1 + (SHIFT - 1) * normal)
    t = time[:, None, None, None]
    noisy = (1 - t) * latents + t * torch.randn_like(latents)
    error = (network(noisy, time, ids) - latents).square().mean((1, 2, 3))
    return (error / time.clamp(min=TIME_FLOOR) ** 2).mean()


def train(work: Path, steps: int, seed: int) -> Iterator[str]:
    """Trains up to `steps`, going on from `work/denoiser.pt` where there is one. Yields a line every 50 steps."""
    shape = Shape()
    words = checkpoint.tokenizer(shape)
    torch.manual_seed(seed)
    network = Denoiser(shape, words.size).to(memory_format=torch.channels_last)
    average = {name: value.clone() for name, value in network.state_dict().items()}
    engines = optimizers(network, RATE, plain=("embedding", "position", "enter", "leave"))
    path, first = work / "denoiser.pt", 0
    if path.exists():
        state = torch.load(path)
        network.load_state_dict(state["network"])
        average, first = state["average"], state["step"]
        for engine, saved in zip(engines, state["optimizers"], strict=True):
            engine.load_state_dict(saved)
    recent, started = [], time.monotonic()
    for step in range(first, steps):
        torch.manual_seed(seed * 1_000_000 + step)
        latents, captions = batch(seed, step)
        value = loss(network, latents, torch.from_numpy(words.batch(captions)))
        for group in chain.from_iterable(engine.param_groups for engine in engines):
            group["lr"] = rate(step, steps)
        network.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for engine in engines:
            engine.step()
        keep = min(AVERAGE, (1 + step) / (10 + step))
        for name, weight in network.state_dict().items():
            average[name].lerp_(weight, 1 - keep)
        recent.append(value.item())
        done = step + 1
        if done % SAVE_EVERY == 0 or done == steps:
            saved = [engine.state_dict() for engine in engines]
            checkpoint.save(
                {"network": network.state_dict(), "average": average, "optimizers": saved, "step": done}, path
            )
        if done % 50 == 0:
            speed = (done - first) / (time.monotonic() - started)
            yield f"step {done}/{steps}: loss {np.mean(recent[-50:]):.4f}, {speed:.2f} steps/s"
