"""The memory layouts that convolutions and kernels work in."""

from __future__ import annotations

import torch
from torch import Tensor


def channels_last(x: Tensor) -> Tensor:
    """(batch, channels, *spatial) with the channels innermost in memory.

    The strides say so too where there is one channel only, which is dense in both layouts: from them a convolution
    takes the layout of its output.
    """
    layout = torch.channels_last if x.dim() == 4 else torch.channels_last_3d
    return x.contiguous(memory_format=layout).to(memory_format=layout)


def channels_innermost(x: Tensor) -> Tensor:
    """A sequence (batch, channels, length), in memory as (batch, length, channels)."""
    return x.transpose(1, 2).contiguous().transpose(1, 2)


def empty_innermost(x: Tensor) -> Tensor:
    """A sequence of the same shape and dtype without values, in memory as (batch, length, channels)."""
    batches, channels, length = x.shape
    return x.new_empty(batches, length, channels).transpose(1, 2)
