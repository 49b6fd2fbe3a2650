"""Muon: momentum whose directions all get the same length (Jordan et al. 2024, kellerjordan.github.io/posts/muon).

A gradient's matrix is mostly a few large directions. Steps along the many small ones too let a network learn from fewer
iterations. torch has Muon since 2.9, but for matrices only, one after another, and it cannot leave a step out without
the host's waiting for the device.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from umseg.models.registry import output_layers

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of x, x^3 and x^5: they raise small singular values fast and leave all between about 0.7 and 1.2."""
NEWTON_SCHULZ_STEPS = 5
MOMENTUM = 0.95
AT_ONCE = 2**23
"""Numbers of the weights that go through together: so an update takes no more than 0.23 GB (measured on a CPU)."""
_MATRIX_LAYERS = (nn.Linear, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def matrix_weights(network: nn.Module) -> list[Tensor]:
    """Weights that act as one matrix: of convolutions and linear layers but the output's, in the network's order.

    The steps of an output layer, whose rows are classes, are better for their different lengths (docs/quick.md).
    """
    outputs = set(output_layers(network))
    layers = [m for m in network.modules() if isinstance(m, _MATRIX_LAYERS) and m not in outputs]
    # A grouped convolution's kernel is many small matrices, a depthwise one's is none.
    return list(dict.fromkeys(layer.weight for layer in layers if getattr(layer, "groups", 1) == 1))


def orthogonalize(matrices: Tensor) -> Tensor:
    """U V^T of each matrix U S V^T, nearly: five steps of a Newton-Schulz iteration, no decomposition.

    The steps are polynomials of X X^T on the left of X, so they are collected in that smaller square matrix; a wide
    matrix, as a convolution's is, costs two products with X itself instead of ten.

    Args:
        matrices: (count, rows, columns), float32: small singular values would be lost in fewer digits.

    Returns:
        Of the same shape; singular values between about 0.7 and 1.2, but for those below about 1e-3 of all together.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-12)
    gram = x @ x.mT
    step = _polynomial(gram)
    collected = step
    for _ in range(NEWTON_SCHULZ_STEPS - 1):
        gram = step @ gram @ step
        step = _polynomial(gram)
        collected = step @ collected
    found: Tensor = collected @ x
    return found.mT if tall else found


def _polynomial(gram: Tensor) -> Tensor:
    """What one step multiplies X by, of X X^T."""
    a, b, c = NEWTON_SCHULZ
    step = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
    step.diagonal(dim1=1, dim2=2).add_(a)
    return step


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised; weights of one shape go through together.

    A weight (out, in, *kernel) is the matrix (out, in x kernel); a transposed convolution's is (in, out x kernel). The
    step is ``lr`` times sqrt(max(1, rows / columns)) times the orthogonalised momentum: it does not depend on the
    gradient's length. Weight decay is decoupled, as AdamW's is.

    Attributes:
        found_inf: Where it is 1 (a float32 scalar on the device), ``step`` leaves weights and state as they are.
    """

    def __init__(self, params: Iterable[Any], lr: float, momentum: float = MOMENTUM, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "fused": True})
        self.found_inf: Tensor | None = None

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update all weights that have a gradient."""
        for group in self.param_groups:
            alike: defaultdict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            for weight in group["params"]:
                if weight.grad is not None:
                    alike[weight.shape].append(weight)
            for shape, weights in alike.items():
                count = max(1, AT_ONCE // shape.numel())
                for start in range(0, len(weights), count):
                    part = weights[start : start + count]
                    self._update(part, group["lr"], group["momentum"], group["weight_decay"])

    def _update(self, weights: list[nn.Parameter], lr: float, momentum: float, weight_decay: float) -> None:
        """One step of weights of one shape."""
        for weight in weights:
            if not self.state[weight]:
                self.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
        buffers = [self.state[weight]["momentum_buffer"] for weight in weights]
        gradients = torch.stack([weight.grad.flatten(1) for weight in weights if weight.grad is not None])
        before = torch.stack([buffer.flatten(1) for buffer in buffers])
        after = torch.lerp(before, gradients, 1 - momentum)
        updates = orthogonalize(torch.lerp(gradients, after, momentum))
        rows, columns = updates.shape[1:]
        updates = updates.mul_(-lr * max(1.0, rows / columns) ** 0.5)
        kept: float | Tensor = 1 - lr * weight_decay
        if self.found_inf is not None:
            left_out = self.found_inf.bool()
            after = torch.where(left_out, before, after)
            updates = torch.where(left_out, 0.0, updates)
            kept = torch.where(left_out, 1.0, kept)
        for weight, buffer, momentum_after, update in zip(weights, buffers, after, updates, strict=True):
            buffer.copy_(momentum_after.view(buffer.shape))
            weight.mul_(kept).add_(update.view(weight.shape))
