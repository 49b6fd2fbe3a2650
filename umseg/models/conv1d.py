"""Causal depthwise convolution along a sequence, followed by SiLU."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def causal_conv1d_silu(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """silu(sum_k weight[c, 0, k] x[b, c, t - width + 1 + k] + bias[c]), with zeros before the first token.

    Args:
        x: (batch, channels, length), any strides.
        weight: (channels, 1, width).
        bias: (channels,).

    Returns:
        (batch, channels, length) in the dtype of ``x``.
    """
    width = weight.shape[-1]
    return F.silu(F.conv1d(F.pad(x, (width - 1, 0)), weight, bias, groups=x.shape[1]))
