"""The layers of the networks in numpy, channels last: pictures are (n, h, w, c), token rows are (n, t, c)."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
GROUPS = 8
EPSILON = np.float32(1e-5)


class Weights:
    """The tensors of one network by name, as 32-bit floats, in the layout that `linear` and `convolve` multiply."""

    def __init__(self, tensors: Mapping[str, NDArray[np.generic]], prefix: str) -> None:
        self._tensors: dict[str, Floats] = {}
        for name, tensor in tensors.items():
            if not name.startswith(prefix):
                continue
            values = tensor.astype(np.float32)
            if values.ndim == 4 and name.endswith("weight"):  # (outer, inner, h, w) to (h * w * inner, outer)
                values = values.transpose(2, 3, 1, 0).reshape(-1, values.shape[0])
            elif values.ndim == 2 and name.endswith("weight") and "embedding" not in name:
                values = values.T
            self._tensors[name.removeprefix(prefix)] = np.ascontiguousarray(values)

    def __getitem__(self, name: str) -> Floats:
        return self._tensors[name]

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def linear(self, x: Floats, name: str) -> Floats:
        """(..., inner) to (..., outer); also a 1x1 convolution."""
        y: Floats = x @ self[f"{name}.weight"]
        return y + self[f"{name}.bias"] if f"{name}.bias" in self else y

    def convolve(self, x: Floats, name: str) -> Floats:
        """3x3 convolution with zeros around the picture, as one matrix product over all patches."""
        n, h, w, c = x.shape
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        patches = np.empty((n, h, w, 9, c), np.float32)
        for index in range(9):
            row, column = divmod(index, 3)
            patches[:, :, :, index] = padded[:, row : row + h, column : column + w]
        y = patches.reshape(n * h * w, 9 * c) @ self[f"{name}.weight"] + self[f"{name}.bias"]
        return y.reshape(n, h, w, -1)

    def group_norm(self, x: Floats, name: str) -> Floats:
        """Normalizes each of `GROUPS` groups of channels over the whole picture."""
        n, h, w, c = x.shape
        y: Floats = x.reshape(n, h * w, GROUPS, c // GROUPS)
        y = y - y.mean((1, 3), keepdims=True)
        y /= np.sqrt(np.square(y).mean((1, 3), keepdims=True) + EPSILON)
        return y.reshape(x.shape) * self[f"{name}.weight"] + self[f"{name}.bias"]

    def layer_norm(self, x: Floats, name: str) -> Floats:
        """Normalizes the channels of each token."""
        y: Floats = x - x.mean(-1, keepdims=True)
        y /= np.sqrt(np.square(y).mean(-1, keepdims=True) + EPSILON)
        return y * self[f"{name}.weight"] + self[f"{name}.bias"]

    def attend(
        self, x: Floats, name: str, heads: int, context: Floats | None = None, mask: NDArray[np.bool_] | None = None
    ) -> Floats:
        """Attention of (n, q, c) to `context` (n, k, d), or to itself; `mask` (n, k) is true at keys that count."""
        y = self.layer_norm(x, f"{name}.norm")
        source = y if context is None else context
        n, length, channels = x.shape

        def split(values: Floats) -> Floats:
            return values.reshape(n, -1, heads, channels // heads).transpose(0, 2, 1, 3)

        query, key, value = (
            split(self.linear(values, f"{name}.{part}"))
            for values, part in ((y, "query"), (source, "key"), (source, "value"))
        )
        scores = query @ key.transpose(0, 1, 3, 2) / np.float32(np.sqrt(channels // heads))
        if mask is not None:
            scores = np.where(mask[:, None, None], scores, np.float32(-1e9))
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        return x + self.linear((scores @ value).transpose(0, 2, 1, 3).reshape(n, length, channels), f"{name}.out")


def silu(x: Floats) -> Floats:
    """X times its own sigmoid."""
    y: Floats = x / (1 + np.exp(np.minimum(-x, 80)))  # beyond 80, exp overflows 32 bits
    return y


def fold(x: Floats, factor: int) -> Floats:
    """(n, h, w, c) to (n, h / factor, w / factor, c * factor**2): each square of cells becomes channels."""
    n, h, w, c = x.shape
    y = x.reshape(n, h // factor, factor, w // factor, factor, c).transpose(0, 1, 3, 5, 2, 4)
    return y.reshape(n, h // factor, w // factor, c * factor * factor)


def unfold(x: Floats, factor: int) -> Floats:
    """The inverse of `fold`."""
    n, h, w, c = x.shape
    y = x.reshape(n, h, w, c // factor**2, factor, factor).transpose(0, 1, 4, 2, 5, 3)
    return y.reshape(n, h * factor, w * factor, c // factor**2)


def repeat(x: Floats, factor: int) -> Floats:
    """Each cell `factor` times in both directions."""
    return x.repeat(factor, 1).repeat(factor, 2)


def average(x: Floats, factor: int) -> Floats:
    """The mean of each square of `factor` cells."""
    n, h, w, c = x.shape
    y: Floats = x.reshape(n, h // factor, factor, w // factor, factor, c).mean((2, 4), dtype=np.float32)
    return y
