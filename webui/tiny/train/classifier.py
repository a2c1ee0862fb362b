"""The judge: a small network that names shape, colour and background of a picture.

It learns from procedural pictures alone, all combinations of them, and never sees what the model draws.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from webui.tiny.train import checkpoint
from webui.tiny.train.scenes import COLORS, POSITIONS, RADII, SHAPES, Scene, compose, draw

BATCH = 64
RATE = 2e-3
NOISE = 0.05
"""Largest standard deviation of the noise on its training pictures."""

SIDE = 64
"""Width and height of the pictures that it sees: procedural ones drawn so, others averaged down."""


@dataclass(frozen=True)
class Verdict:
    """What a picture shows, or should show."""

    shape: str
    color: str
    background: str


class Classifier(nn.Module):
    """Three answers from one small convolutional network."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 24, 48, 96, 96)
        self.body = nn.Sequential(
            *(
                layer
                for inner, outer in pairwise(widths)
                for layer in (nn.Conv2d(inner, outer, 3, stride=2, padding=1), nn.BatchNorm2d(outer), nn.ReLU())
            ),
            nn.Flatten(),
            nn.Linear(96 * 16, 256),
            nn.ReLU(),
        )
        self.heads = nn.ModuleList(nn.Linear(256, size) for size in (len(SHAPES), len(COLORS), len(COLORS)))

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Pictures (n, 3, 64, 64), -1 to 1, to logits of shape, colour and background."""
        features = self.body(pictures)
        return [head(features) for head in self.heads]

    @torch.no_grad()
    def judge(self, pictures: Tensor) -> list[Verdict]:
        """What each picture of at least `SIDE` shows."""
        self.eval()
        small = functional.interpolate(pictures, size=(SIDE, SIDE), mode="area")
        shapes, colors, grounds = (logits.argmax(1).tolist() for logits in self(small))
        names = list(COLORS)
        return [Verdict(SHAPES[s], names[c], names[b]) for s, c, b in zip(shapes, colors, grounds, strict=True)]


def scene(rng: np.random.Generator) -> Scene:
    """One shape of any look, size and place on any other background."""
    color, background = (str(name) for name in rng.choice(list(COLORS), 2, replace=False))
    size = rng.choice(list(RADII))
    position = "" if size == "big" or rng.random() < 0.5 else str(rng.choice(list(POSITIONS)))
    return compose(((str(rng.choice(SHAPES)), color),), background, "", rng, size, position)


def truth(of: Scene) -> Verdict:
    """The right answer for a procedural picture."""
    thing = of.things[0]
    return Verdict(thing.shape, thing.color, of.background)


def pictures(scenes: list[Scene]) -> Tensor:
    """Drawn scenes: (n, 3, 64, 64)."""
    return torch.from_numpy(np.stack([draw(one, SIDE) for one in scenes])).permute(0, 3, 1, 2)


def train(work: Path, steps: int, seed: int) -> Iterator[str]:
    """Trains for `steps` and writes `work/classifier.pt`. Yields a line every 100 steps and one with its accuracy."""
    torch.manual_seed(seed)
    network, names = Classifier(), list(COLORS)
    optimizer = torch.optim.AdamW(network.parameters(), RATE)
    started = time.monotonic()
    for step in range(steps):
        rng = np.random.default_rng((seed, 1, step))
        scenes = [scene(rng) for _ in range(BATCH)]
        inputs = pictures(scenes)
        # Noise and a random blur, so that no verdict hangs on the crispness of procedural edges.
        blurred = functional.avg_pool2d(inputs, 3, 1, 1, count_include_pad=False)
        inputs = inputs.lerp(blurred, torch.rand(BATCH, 1, 1, 1))
        inputs = inputs + torch.randn_like(inputs) * NOISE * torch.rand(BATCH, 1, 1, 1)
        answers = [truth(one) for one in scenes]
        targets = (
            torch.tensor([SHAPES.index(answer.shape) for answer in answers]),
            torch.tensor([names.index(answer.color) for answer in answers]),
            torch.tensor([names.index(answer.background) for answer in answers]),
        )
        losses = [functional.cross_entropy(*pair) for pair in zip(network(inputs), targets, strict=True)]
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, 2 * (steps - step) / steps)
        optimizer.zero_grad()
        torch.stack(losses).sum().backward()
        optimizer.step()
        if (step + 1) % 100 == 0:
            speed = (step + 1) / (time.monotonic() - started)
            yield f"step {step + 1}/{steps}: loss {float(torch.stack(losses).detach().sum()):.4f}, {speed:.2f} steps/s"
    checkpoint.save(network.state_dict(), work / "classifier.pt")
    rng = np.random.default_rng((seed, 2))
    unseen = [scene(rng) for _ in range(1000)]
    right = [a == truth(b) for a, b in zip(network.judge(pictures(unseen)), unseen, strict=True)]
    yield f"all three right on {np.mean(right):.1%} of 1000 other procedural pictures"
