"""The memory layouts that convolutions and kernels use."""

from __future__ import annotations

import torch
from torch import Tensor


def channels_last(x: Tensor) -> Tensor:
    """The tensor (batch, channels, *spatial) with its channels innermost in memory.

    The strides are those of this layout even for a single channel, which is dense in both layouts, because a
    convolution takes the layout of its output from the strides.
    """
    layout = torch.channels_last if x.dim() == 4 else torch.channels_last_3d
    return x.contiguous(memory_format=layout).to(memory_format=layout)


def channels_innermost(x: Tensor) -> Tensor:
    """The sequence (batch, channels, length), stored in memory as (batch, length, channels)."""
    return x.transpose(1, 2).contiguous().transpose(1, 2)


def empty_innermost(x: Tensor) -> Tensor:
    """An uninitialised sequence of the same shape and dtype, stored in memory as (batch, length, channels)."""
    batches, channels, length = x.shape
    return x.new_empty(batches, length, channels).transpose(1, 2)
