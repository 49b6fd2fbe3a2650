"""The levels of a U-Net, as a plan describes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Stage:
    """One level of a U-Net.

    Attributes:
        features: Number of channels.
        size: Voxels per axis of the feature maps.
        stride: Stride at the entry from the stage above.
        kernel: Size of the convolution kernel.
        encoder_convs: Convolutions of a plain encoder stage; None where the plan is for a residual encoder.
        encoder_blocks: Residual blocks of an encoder stage; None where the plan is for a plain encoder.
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
