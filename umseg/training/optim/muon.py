"""Muon: momentum with all singular values made equal (Jordan et al. 2024, kellerjordan.github.io/posts/muon).

A gradient's matrix is dominated by a few large directions. With equal steps along the many small ones a network learns
in fewer iterations. torch has had Muon since 2.9, but only for matrices, which it updates one after another, and it
cannot skip a step without the host waiting for the device.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from umseg.models.registry import output_layers

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of x, x^3 and x^5, which raise small singular values fast and bring all between about 0.7 and 1.2."""
NEWTON_SCHULZ_STEPS = 5
MOMENTUM = 0.95
AT_ONCE = 2**23
"""Most weights that are updated together, so that an update takes no more than 0.23 GB (measured on a CPU)."""
_MATRIX_LAYERS = (nn.Linear, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def matrix_weights(network: nn.Module) -> list[Tensor]:
    """Weights that act as one matrix, in the network's order: of convolutions and linear layers, except output layers.

    The rows of an output layer are classes, which learn better with steps of different lengths (docs/quick.md).
    """
    outputs = set(output_layers(network))
    layers = [m for m in network.modules() if isinstance(m, _MATRIX_LAYERS) and m not in outputs]
    # The kernel of a grouped convolution is many small matrices; that of a depthwise convolution is none.
    return list(dict.fromkeys(layer.weight for layer in layers if getattr(layer, "groups", 1) == 1))


def orthogonalize(matrices: Tensor) -> Tensor:
    """Approximately U V^T of each matrix U S V^T: five steps of a Newton-Schulz iteration, without a decomposition.

    The steps multiply X from the left by polynomials of X X^T, so they are collected in that smaller square matrix; a
    wide matrix, such as a convolution's, takes two products with X itself instead of ten.

    Args:
        matrices: (count, rows, columns) float32; fewer digits would lose small singular values.

    Returns:
        Matrices of the same shape with singular values between about 0.7 and 1.2, except those that were below about
        1e-3 of the norm.
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
    result: Tensor = collected @ x
    return result.mT if tall else result


def _polynomial(gram: Tensor) -> Tensor:
    """The matrix by which one step multiplies X, from X X^T."""
    a, b, c = NEWTON_SCHULZ
    step = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
    step.diagonal(dim1=1, dim2=2).add_(a)
    return step


class Muon(torch.optim.Optimizer):
    """Orthogonalised Nesterov momentum; weights of one shape are updated together.

    A weight (out, in, *kernel) is the matrix (out, in x kernel), that of a transposed convolution (in, out x kernel).
    The step is ``lr`` times sqrt(max(1, rows / columns)) times the orthogonalised momentum: it does not depend on the
    gradient's length. Weight decay is decoupled, as in AdamW.

    Attributes:
        found_inf: A float32 scalar on the device; where it is 1, ``step`` changes neither weights nor state.
    """

    def __init__(self, params: Iterable[Any], lr: float, momentum: float = MOMENTUM, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "fused": True})
        self.found_inf: Tensor | None = None

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update all weights that have a gradient."""
        for group in self.param_groups:
            by_shape: defaultdict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            for weight in group["params"]:
                if weight.grad is not None:
                    by_shape[weight.shape].append(weight)
            for shape, weights in by_shape.items():
                count = max(1, AT_ONCE // shape.numel())
                for start in range(0, len(weights), count):
                    part = weights[start : start + count]
                    self._update(part, group["lr"], group["momentum"], group["weight_decay"])

    def _update(self, weights: list[nn.Parameter], lr: float, momentum: float, weight_decay: float) -> None:
        """Update weights of one shape."""
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
        decay: float | Tensor = 1 - lr * weight_decay
        if self.found_inf is not None:
            skip = self.found_inf.bool()
            after = torch.where(skip, before, after)
            updates = torch.where(skip, 0.0, updates)
            decay = torch.where(skip, 1.0, decay)
        for weight, buffer, momentum_after, update in zip(weights, buffers, after, updates, strict=True):
            buffer.copy_(momentum_after.view(buffer.shape))
            weight.mul_(decay).add_(update.view(weight.shape))
