"""Asks the exported model for pictures and the judge for what they show.

The pictures are drawn by the numpy engine from the file that is shipped, as a user gets them.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from webui.tiny.engine import Drawing, draw
from webui.tiny.network import Network
from webui.tiny.train.classifier import Classifier, Verdict
from webui.tiny.train.scenes import COLORS, RADII, SHAPES, describe, is_held_out

STEPS = 20
SCALE = 7.0


def prompts(held_out: bool, count: int, seed: int) -> list[tuple[str, Verdict]]:
    """`count` prompts for one shape on a background, with what they ask for; every third names no background."""
    triples = [
        Verdict(shape, color, background)
        for shape in SHAPES
        for color in COLORS
        for background in COLORS
        if color != background and is_held_out(shape, color, background) == held_out
    ]
    plain = [verdict for verdict in triples if verdict.background == "white"]
    rng = np.random.default_rng((seed, held_out))
    chosen = []
    for index in range(count):
        unnamed = index % 3 == 0
        wanted = rng.choice(np.array(plain if unnamed else triples, dtype=object))
        size = str(rng.choice(list(RADII)))
        looks = ((wanted.shape, wanted.color),)
        ground = "" if unnamed else wanted.background
        text = describe(looks, ground, "" if size == "normal" else size, "", int(rng.integers(6)))
        chosen.append((text, wanted))
    return chosen


def agreement(wanted: Sequence[Verdict], seen: Sequence[Verdict]) -> str:
    """Shares of pictures that agree, in words."""
    pairs = list(zip(wanted, seen, strict=True))
    shares = {
        name: np.mean([getattr(a, name) == getattr(b, name) for a, b in pairs]) for name in Verdict.__annotations__
    }
    shares["all three"] = np.mean([a == b for a, b in pairs])
    return ", ".join(f"{name} {share:.1%}" for name, share in shares.items())


def evaluate(model: Path, work: Path, count: int, seed: int) -> Iterator[str]:
    """Draws `count` pictures of combinations seen in training, and as many of others. Yields lines of a report."""
    judge = Classifier()
    judge.load_state_dict(torch.load(work / "classifier.pt"))
    network = Network(model)
    yield f"{model.name}: {count} pictures each, {STEPS} Euler steps, guidance {SCALE}"
    for held_out in (False, True):
        asked, seen, spent = prompts(held_out, count, seed), [], 0.0
        for index, (text, _) in enumerate(asked):
            started = time.process_time()
            *_, latents = draw(network, Drawing(text, (seed + index,), steps=STEPS, scale=SCALE))
            picture = network.decode(latents)
            spent += time.process_time() - started
            seen += judge.judge(torch.from_numpy(picture).permute(0, 3, 1, 2))
        yield f"{'held out' if held_out else 'seen'}: {agreement([wanted for _, wanted in asked], seen)}"
        yield f"  {spent / count:.2f} CPU seconds a picture"
        wrong = [(text, verdict) for (text, wanted), verdict in zip(asked, seen, strict=True) if wanted != verdict]
        for text, verdict in wrong[:20]:
            yield f"  wrong: {text!r} looks like {verdict.color} {verdict.shape} on {verdict.background}"
