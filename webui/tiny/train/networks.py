"""The networks in torch, channels first. `webui.tiny.network` has the same ones in numpy: the two change together.

Shapes: n pictures, t tokens, d text channels, c feature channels. Latents are (n, 12, 16, 16): the 32x32 RGB latent
with each 2x2 cells stacked into channels, which quarters the cost of the wide layers.
"""

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Shape:
    """Sizes of the denoiser and the decoder; stored in the checkpoint's metadata."""

    fine: int = 64
    """Channels at 16x16."""
    coarse: int = 128
    """Channels at 8x8, where attention happens."""
    text: int = 128
    """Channels of a text token and of the conditioning vector."""
    heads: int = 4
    text_layers: int = 2
    coarse_blocks: int = 3
    decoder: int = 48
    """Channels of the decoder, at 32x32."""
    decoder_blocks: int = 3
    tokens: int = 24
    """Longest prompt, in tokens."""

    def metadata(self) -> dict[str, int]:
        """As plain numbers by name."""
        return asdict(self)


class Attention(nn.Module):
    """Multi-head attention of `x` (n, q, c) to `context` (n, k, d) with a residual around it."""

    def __init__(self, channels: int, context: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(channels)
        self.query = nn.Linear(channels, channels, bias=False)
        self.key = nn.Linear(context, channels, bias=False)
        self.value = nn.Linear(context, channels, bias=False)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """`mask` (n, 1, 1, k) is true where a key may be looked at; without `context`, attends to itself."""
        y = self.norm(x)
        source = y if context is None else context
        q, k, v = (
            t.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for t in (self.query(y), self.key(source), self.value(source))
        )
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return x + self.out(y.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Two-layer perceptron of each token with a residual around it."""

    def __init__(self, channels: int, factor: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.up = nn.Linear(channels, channels * factor)
        self.down = nn.Linear(channels * factor, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(n, t, c) to the same."""
        return x + self.down(functional.silu(self.up(self.norm(x))))


class TextEncoder(nn.Module):
    """Token ids (n, t), padded with 0, to token features (n, t, d) and their mean (n, d)."""

    def __init__(self, shape: Shape, vocabulary: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, shape.text)
        self.position = nn.Parameter(torch.randn(shape.tokens, shape.text) * 0.02)
        self.layers = nn.ModuleList(
            nn.ModuleList([Attention(shape.text, shape.text, shape.heads), FeedForward(shape.text, 2)])
            for _ in range(shape.text_layers)
        )
        self.norm = nn.LayerNorm(shape.text)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """The first token must not be padding."""
        mask = ids != 0
        x = self.embedding(ids) + self.position[: ids.shape[1]]
        for attention, feed in self.layers:  # type: ignore[misc]
            x = feed(attention(x, mask=mask[:, None, None]))
        x = self.norm(x)
        weight = mask[..., None].to(x.dtype)
        return x, (x * weight).sum(1) / weight.sum(1)


class Residual(nn.Module):
    """Two 3x3 convolutions; the conditioning vector scales and shifts what is between them."""

    def __init__(self, inner: int, outer: int, condition: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(8, inner)
        self.conv1 = nn.Conv2d(inner, outer, 3, padding=1)
        self.modulation = nn.Linear(condition, 2 * outer)
        self.norm2 = nn.GroupNorm(8, outer)
        self.conv2 = nn.Conv2d(outer, outer, 3, padding=1)
        self.skip = nn.Conv2d(inner, outer, 1) if inner != outer else nn.Identity()
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(n, inner, h, w) and (n, condition) to (n, outer, h, w)."""
        scale, shift = self.modulation(condition)[..., None, None].chunk(2, 1)
        y = self.conv1(functional.silu(self.norm1(x)))
        y = self.conv2(functional.silu(self.norm2(y) * (1 + scale) + shift))
        return self.skip(x) + y


class Coarse(nn.Module):
    """A residual block, then attention to the whole picture and to the prompt."""

    def __init__(self, inner: int, shape: Shape) -> None:
        super().__init__()
        self.residual = Residual(inner, shape.coarse, shape.text)
        self.picture = Attention(shape.coarse, shape.coarse, shape.heads)
        self.prompt = Attention(shape.coarse, shape.text, shape.heads)

    def forward(self, x: Tensor, condition: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """(n, inner, 8, 8) to (n, coarse, 8, 8)."""
        x = self.residual(x, condition)
        y = self.prompt(self.picture(x.flatten(2).transpose(1, 2)), context, mask)
        return y.transpose(1, 2).unflatten(2, x.shape[2:])


class Denoiser(nn.Module):
    """Predicts the clean latent from a noisy one, the time and the prompt."""

    def __init__(self, shape: Shape, vocabulary: int) -> None:
        super().__init__()
        fine, coarse = shape.fine, shape.coarse
        self.shape = shape
        self.encoder = TextEncoder(shape, vocabulary)
        self.time = nn.Sequential(nn.Linear(64, shape.text), nn.SiLU(), nn.Linear(shape.text, shape.text))
        self.position = nn.Parameter(torch.randn(1, coarse, 8, 8) * 0.02)
        self.enter = nn.Conv2d(12, fine, 3, padding=1)
        self.down = Residual(fine, fine, shape.text)
        self.shrink = nn.Conv2d(4 * fine, coarse, 1)
        self.middle = nn.ModuleList(Coarse(coarse, shape) for _ in range(shape.coarse_blocks))
        self.grow = nn.Conv2d(coarse, 4 * fine, 1)
        self.up1 = Residual(2 * fine, fine, shape.text)
        self.up2 = Residual(2 * fine, fine, shape.text)
        self.norm = nn.GroupNorm(8, fine)
        self.leave = nn.Conv2d(fine, 12, 3, padding=1)
        nn.init.zeros_(self.leave.weight)

    def forward(self, z: Tensor, time: Tensor, ids: Tensor) -> Tensor:
        """Noisy latents (n, 12, 16, 16), times (n,) in 0 to 1 and token ids (n, t) to clean latents like `z`."""
        context, pooled = self.encoder(ids)
        mask = (ids != 0)[:, None, None]
        condition = functional.silu(self.time(waves(time)) + pooled)
        entered = self.enter(z)
        fine = self.down(entered, condition)
        x = self.shrink(functional.pixel_unshuffle(fine, 2)) + self.position
        for block in self.middle:
            x = block(x, condition, context, mask)
        x = functional.pixel_shuffle(self.grow(x), 2)
        x = self.up1(torch.cat([x, fine], 1), condition)
        x = self.up2(torch.cat([x, entered], 1), condition)
        return self.leave(functional.silu(self.norm(x)))


def waves(time: Tensor) -> Tensor:
    """Times (n,) in 0 to 1 as 32 cosines and 32 sines of rising wavelength: (n, 64)."""
    angle = 1000 * time[:, None] * torch.exp(-math.log(10_000) * torch.arange(32) / 32)
    return torch.cat([angle.cos(), angle.sin()], 1)


class Decoder(nn.Module):
    """The latent (n, 3, 32, 32) to the picture (n, 3, 128, 128): sharp edges out of each cell's shade."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        c = shape.decoder
        self.enter = nn.Conv2d(3, c, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, c, 3, padding=1), nn.SiLU(), nn.Conv2d(c, c, 3, padding=1))
            for _ in range(shape.decoder_blocks)
        )
        self.leave = nn.Conv2d(c, 48, 3, padding=1)
        nn.init.zeros_(self.leave.weight)

    def forward(self, latent: Tensor) -> Tensor:
        """What is learned is the difference to each cell repeated 4x4 times."""
        x = self.enter(latent)
        for block in self.blocks:
            x = x + block(functional.silu(x))
        return functional.interpolate(latent, scale_factor=4) + functional.pixel_shuffle(
            self.leave(functional.silu(x)), 4
        )
