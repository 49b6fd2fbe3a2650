"""Numbers of parameters of the layers that networks are made of (docs/rules.md, Networks)."""

from __future__ import annotations

import math
from collections.abc import Sequence

MAMBA_EXPANSION = 2
MAMBA_STATES = 16
_MAMBA_WIDTH = 4


def convolution_parameters(in_channels: int, out_channels: int, kernel: Sequence[int]) -> int:
    """Number of parameters of a convolution with bias, transposed or not."""
    return in_channels * out_channels * math.prod(kernel) + out_channels


def norm_parameters(channels: int) -> int:
    """Number of parameters of a norm: a scale and a shift per channel."""
    return 2 * channels


def mamba_rank(channels: int) -> int:
    """Rank of the projection that gives a Mamba block's step sizes."""
    return math.ceil(channels / 16)


def mamba_parameters(channels: int) -> int:
    """Number of parameters of a layer norm and a Mamba block (675 840 at 320 channels)."""
    inner, rank = MAMBA_EXPANSION * channels, mamba_rank(channels)
    projections = channels * 2 * inner + inner * channels
    convolution = inner * (_MAMBA_WIDTH + 1)
    selection = inner * (rank + 2 * MAMBA_STATES) + rank * inner + inner
    recurrence = inner * MAMBA_STATES + inner
    return norm_parameters(channels) + projections + convolution + selection + recurrence
