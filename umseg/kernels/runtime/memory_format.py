"""The memory layout that convolutions and the kernels around them work in."""

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
