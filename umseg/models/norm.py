"""Instance normalisation with the residual sum and activation that follow it, in one pass over memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from umseg.kernels.norm import cpu, triton
from umseg.kernels.runtime.obstacles import OBSTACLES

NEGATIVE_SLOPE = 0.01
Fused = Callable[[Tensor, "Tensor | None", Tensor, Tensor, float, float], Tensor]
"""A function ``norm_act(x, residual, weight, bias, eps, slope)`` whose weight and bias are float32."""


class InstanceNormAct(nn.Module):
    """LeakyReLU(InstanceNorm(x) + residual), slope 0.01, eps 1e-5, affine. A slope of 1 means no activation.

    Source: docs/rules.md, Networks.

    Fused kernels over channels-last memory run on a CPU in float32 or bfloat16, and on a GPU where Triton can run:
    normalisation is bound by memory, and torch's own is slow in that layout. All other inputs use torch's own.
    """

    def __init__(self, channels: int, eps: float = 1e-5, slope: float = NEGATIVE_SLOPE) -> None:
        super().__init__()
        self.eps = eps
        self.slope = slope
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Map (batch, channels, *spatial) to the same shape and dtype; ``residual`` has the shape of ``x``."""
        if (fused := _fused(x)) is not None:
            residual = None if residual is None else residual.to(x.dtype)
            return fused(x, residual, self.weight.float(), self.bias.float(), self.eps, self.slope)
        x = F.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)
        x = x if residual is None else x + residual
        return x if self.slope == 1 else F.leaky_relu_(x, self.slope)


def _fused(x: Tensor) -> Fused | None:
    """The fused kernels for the device and dtype of ``x``, or None where torch's own operators are used."""
    if x.device.type == "cpu":
        return cpu.norm_act if x.dtype in (torch.float32, torch.bfloat16) else None
    short = x.dtype in (torch.float32, torch.bfloat16, torch.float16)
    return triton.norm_act if x.device.type == "cuda" and short and OBSTACLES["triton"] is None else None
