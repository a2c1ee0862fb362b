"""The trained networks in numpy. `webui.tiny.train.networks` has the same ones in torch: the two change together."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from webui.tiny.layers import Floats, Weights, average, fold, repeat, silu, unfold
from webui.tiny.text import PADDING, Tokenizer

FORMAT = "darkroom-tiny-1"
"""What a checkpoint's metadata must name as its `format`."""

PIXELS = 128
"""Width and height of every picture that the networks know."""

CELL = 4
"""Pixels along a latent's cell."""

NOISE_SHAPE = (PIXELS // CELL, PIXELS // CELL, 3)


class CheckpointError(Exception):
    """A file is not a checkpoint of this model; the message says which file and why."""


@dataclass(frozen=True)
class Prompts:
    """Encoded prompts: token features (n, t, d), what of them is not padding (n, t), and their mean (n, d)."""

    tokens: Floats
    mask: NDArray[np.bool_]
    mean: Floats


class Network:
    """Text encoder, denoiser and decoder of one checkpoint. It has no state: threads may share it."""

    def __init__(self, path: Path) -> None:
        """Reads `path`. Raises `CheckpointError` when it is not a checkpoint of this architecture."""
        try:
            with safe_open(path, "np") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{path.name}: cannot be read: {error}") from error
        if metadata.get("format") != FORMAT:
            raise CheckpointError(f"{path.name}: format is {metadata.get('format')!r}; this server runs {FORMAT!r}")
        shape = json.loads(metadata["shape"])
        self.tokenizer = Tokenizer(json.loads(metadata["vocabulary"]), shape["tokens"])
        self._heads: int = shape["heads"]
        self._text_layers: int = shape["text_layers"]
        self._coarse_blocks: int = shape["coarse_blocks"]
        self._decoder_blocks: int = shape["decoder_blocks"]
        self._denoiser = Weights(tensors, "denoiser.")
        self._decoder = Weights(tensors, "decoder.")

    def read(self, prompts: list[str]) -> Prompts:
        """Encodes prompts together."""
        weights, ids = self._denoiser, self.tokenizer.batch(prompts)
        mask = ids != PADDING
        x = weights["encoder.embedding.weight"][ids] + weights["encoder.position"][: ids.shape[1]]
        for layer in range(self._text_layers):
            name = f"encoder.layers.{layer}"
            x = weights.attend(x, f"{name}.0", self._heads, mask=mask)
            y = silu(weights.linear(weights.layer_norm(x, f"{name}.1.norm"), f"{name}.1.up"))
            x = x + weights.linear(y, f"{name}.1.down")
        x = weights.layer_norm(x, "encoder.norm")
        share = mask[..., None].astype(np.float32)
        return Prompts(x, mask, (x * share).sum(1) / share.sum(1))

    def denoise(self, latents: Floats, time: float, prompts: Prompts) -> Floats:
        """The clean latents that it sees in noisy ones (n, 32, 32, 3) at `time`, 1 being noise alone."""
        weights = self._denoiser
        angle = np.float32(1000 * time) * np.exp(-np.log(10_000) * np.arange(32, dtype=np.float32) / 32)
        waves = np.concatenate([np.cos(angle), np.sin(angle)]).astype(np.float32)[None]
        clock = weights.linear(silu(weights.linear(waves, "time.0")), "time.2")
        condition = silu(clock + prompts.mean)
        entered = weights.convolve(fold(latents, 2), "enter")
        fine = self._residual(entered, "down", condition)
        x = weights.linear(fold(fine, 2), "shrink") + weights["position"].transpose(0, 2, 3, 1)
        for block in range(self._coarse_blocks):
            x = self._residual(x, f"middle.{block}.residual", condition)
            n, h, w, c = x.shape
            y = weights.attend(x.reshape(n, h * w, c), f"middle.{block}.picture", self._heads)
            y = weights.attend(y, f"middle.{block}.prompt", self._heads, prompts.tokens, prompts.mask)
            x = y.reshape(n, h, w, c)
        x = unfold(weights.linear(x, "grow"), 2)
        x = self._residual(np.concatenate([x, fine], -1), "up1", condition)
        x = self._residual(np.concatenate([x, entered], -1), "up2", condition)
        return unfold(weights.convolve(silu(weights.group_norm(x, "norm")), "leave"), 2)

    def _residual(self, x: Floats, name: str, condition: Floats) -> Floats:
        weights = self._denoiser
        scale, shift = np.split(weights.linear(condition, f"{name}.modulation")[:, None, None], 2, -1)
        y = weights.convolve(silu(weights.group_norm(x, f"{name}.norm1")), f"{name}.conv1")
        y = silu(weights.group_norm(y, f"{name}.norm2") * (1 + scale) + shift)
        skipped = weights.linear(x, f"{name}.skip") if f"{name}.skip.weight" in weights else x
        return skipped + weights.convolve(y, f"{name}.conv2")

    def decode(self, latents: Floats) -> Floats:
        """Latents (n, 32, 32, 3) to pictures (n, 128, 128, 3), both -1 (black) to 1."""
        weights = self._decoder
        x = weights.convolve(latents, "enter")
        for block in range(self._decoder_blocks):
            y = silu(weights.convolve(silu(x), f"blocks.{block}.0"))
            x = x + weights.convolve(y, f"blocks.{block}.2")
        pictures: Floats = repeat(latents, CELL) + unfold(weights.convolve(silu(x), "leave"), CELL)
        return np.clip(pictures, -1, 1)


def encode(pictures: Floats) -> Floats:
    """Pictures (n, 128, 128, 3) to latents (n, 32, 32, 3): the mean colour of each cell. Nothing here is learned."""
    return average(pictures, CELL)
