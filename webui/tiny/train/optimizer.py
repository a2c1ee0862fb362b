"""Muon for the weight matrices, AdamW for the rest: about twice the progress per step of AdamW alone here."""

import torch
from torch import Tensor, nn


def orthogonalize(matrix: Tensor, steps: int = 5) -> Tensor:
    """Nearest matrix whose singular values are about 1, by a quintic Newton-Schulz iteration. (rows, columns)."""
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = wide / (wide.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


class Muon(torch.optim.Optimizer):
    """Momentum whose every step is orthogonalized, so that no direction of a matrix learns slower than another."""

    def __init__(self, weights: list[nn.Parameter], lr: float, momentum: float = 0.95, decay: float = 0.01) -> None:
        super().__init__(weights, {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002  # torch passes it
        """One update; convolution kernels count as matrices of (output, all inputs)."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                velocity = self.state[weight].setdefault("velocity", torch.zeros_like(weight))
                velocity.lerp_(weight.grad, 1 - group["momentum"])
                update = weight.grad.lerp(velocity, group["momentum"]).flatten(1)
                scale = (
                    0.2 * max(update.shape) ** 0.5
                )  # the size that AdamW's updates have, so that one rate serves both
                weight.mul_(1 - group["lr"] * group["decay"])
                weight.add_(orthogonalize(update).view_as(weight), alpha=-group["lr"] * scale)


def optimizers(network: nn.Module, rate: float, plain: tuple[str, ...]) -> list[torch.optim.Optimizer]:
    """Both optimizers for `network`; parameters whose name contains one of `plain` are left to AdamW."""
    matrices: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        is_matrix = parameter.ndim in {2, 4} and not any(word in name for word in plain)
        (matrices if is_matrix else rest).append(parameter)
    return [Muon(matrices, rate), torch.optim.AdamW(rest, rate, betas=(0.9, 0.99), weight_decay=0.0)]
