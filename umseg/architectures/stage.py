"""The levels of a U-Net: what a plan says about each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Stage:
    """One level of a U-Net.

    Attributes:
        features: Channels.
        size: Voxels per axis.
        stride: Stride on entering the stage from the one above.
        kernel: Convolution kernel.
        encoder_convs: Convolutions of a plain encoder stage; None where a residual encoder was planned.
        encoder_blocks: Residual blocks of an encoder stage; None where a plain one was planned.
        decoder_convs: Convolutions of the decoder stage; unused in the last stage.
    """

    features: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    kernel: tuple[int, ...]
    encoder_convs: int | None = 2
    encoder_blocks: int | None = None
    decoder_convs: int = 2


def with_patch(stages: Sequence[Stage], patch: Sequence[int]) -> tuple[Stage, ...]:
    """The same stages for patches of another size."""
    size, resized = tuple(patch), []
    for stage in stages:
        size = tuple(n // s for n, s in zip(size, stage.stride, strict=True))
        resized.append(replace(stage, size=size))
    return tuple(resized)
