"""The limits of a plan's numbers, and the rules by which its fields have to agree with each other.

A plan can come from elsewhere: beside a model, or through ``umseg plan --like``. What the limits let through can be
built and run, if the memory suffices; they lie far above what real plans have.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from umseg.common.record import FieldError
from umseg.common.text import by

if TYPE_CHECKING:
    from umseg.planning.plan import Configuration

IMAGE_FIELDS = ("spacing", "normalization_schemes", "use_mask_for_norm")
"""Fields of a configuration that decide about its preprocessed images."""

MOST_CONFIGURATIONS = 100
MOST_CHANNELS = 1000
MOST_STAGES = 16
MOST_WINDOW = 2**30
"""Most voxels of a patch."""
MOST_BATCH = 2**17
MOST_BATCH_VOXELS = 2**31
"""Most voxels of a batch."""
MOST_WEIGHTS = 2**32
"""Most weights of the encoder's convolutions; the largest published U-Nets have about 1.4e9 weights in all."""

Length = Annotated[float, Field(ge=1e-9, le=1e9, allow_inf_nan=False)]
"""A spacing in mm: from a thousandth of a picometre to a thousand kilometres."""
Size = Annotated[float, Field(gt=0, le=1e7, allow_inf_nan=False)]
"""Voxels along an axis of a typical image, which may be a fraction."""
Voxels = Annotated[int, Field(ge=1, le=2**20)]
Batch = Annotated[int, Field(ge=1, le=MOST_BATCH)]
Features = Annotated[int, Field(ge=1, le=2**14)]
Kernel = Annotated[int, Field(ge=1, le=31)]
Stride = Annotated[int, Field(ge=1, le=16)]
Convolutions = Annotated[int, Field(ge=1, le=64)]
Pools = Annotated[int, Field(ge=0, le=MOST_STAGES)]
ChannelNumber = Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,2})$")]
Axis = Annotated[int, Field(ge=0, le=2)]

PER_AXIS = Field(min_length=2, max_length=3)
PER_STAGE = Field(min_length=1, max_length=MOST_STAGES)
PER_CHANNEL = Field(min_length=1, max_length=MOST_CHANNELS)


def check_configuration(configuration: Configuration) -> None:
    """Require fields that describe one network: equal numbers of axes, stages and channels, and a patch that fits.

    Raises:
        FieldError: Two fields contradict each other, or the network would be larger than any that can be trained.
    """
    _check_lengths(configuration)
    _check_sampling(configuration)
    patch, batch = configuration.patch_size, configuration.batch_size
    if math.prod(patch) > MOST_WINDOW:
        raise FieldError("patch_size", by(patch), f"at most {MOST_WINDOW:,} voxels in all")
    if math.prod(patch) * batch > MOST_BATCH_VOXELS:
        raise FieldError("batch_size", batch, f"at most {MOST_BATCH_VOXELS:,} voxels per batch of {by(patch)}")
    weights = _encoder_weights(configuration)
    if weights > MOST_WEIGHTS:
        raise FieldError(
            "features_per_stage", by(configuration.features_per_stage), f"a network of at most {MOST_WEIGHTS:,} weights"
        )


def check_transposition(forward: Sequence[int], backward: Sequence[int]) -> None:
    """Require a permutation of the axes and its inverse.

    Raises:
        FieldError: They are different.
    """
    if sorted(forward) != [0, 1, 2]:
        raise FieldError("transpose_forward", forward, "each of the axes 0, 1 and 2 once")
    inverse = [forward.index(axis) for axis in range(3)]
    if list(backward) != inverse:
        raise FieldError("transpose_backward", backward, f"{inverse}, the inverse of transpose_forward")


def check_relations(configurations: Mapping[str, Configuration]) -> None:
    """Require that configurations which refer to others find them, and agree with them.

    Raises:
        FieldError: A configuration refers to itself, to one that is missing, or to one with other images.
    """
    channels = {len(configuration.normalization_schemes) for configuration in configurations.values()}
    for name, configuration in configurations.items():
        if len(channels) > 1:
            raise FieldError(
                f"configurations.{name}.normalization_schemes",
                configuration.normalization_schemes,
                "one entry per channel, so that all configurations have equally many",
            )
        for field in ("inherits_from", "previous_stage", "next_stage"):
            other = getattr(configuration, field)
            if other is not None and (other not in configurations or other == name):
                raise FieldError(f"configurations.{name}.{field}", other, "another configuration of this plan")
        parent = configurations.get(configuration.inherits_from or name, configuration)
        if any(getattr(configuration, field) != getattr(parent, field) for field in IMAGE_FIELDS):
            raise FieldError(
                f"configurations.{name}.inherits_from",
                configuration.inherits_from,
                "a configuration of the same spacing and normalisation, because its preprocessed images are used",
            )
        if configuration.previous_stage is not None:
            first = configurations[configuration.previous_stage]
            if first.previous_stage is not None or first.dimensions != configuration.dimensions:
                raise FieldError(
                    f"configurations.{name}.previous_stage",
                    configuration.previous_stage,
                    "a configuration of as many axes that has no previous stage itself",
                )


def _check_lengths(configuration: Configuration) -> None:
    axes, stages = len(configuration.patch_size), len(configuration.features_per_stage)
    lengths = {
        "spacing": axes,
        "median_image_size_in_voxels": axes,
        "num_pool_per_axis": axes,
        "kernel_sizes": stages,
        "strides": stages,
        "n_conv_per_stage": stages,
        "n_blocks_per_stage": stages,
        "n_conv_per_stage_decoder": stages - 1,
        "use_mask_for_norm": len(configuration.normalization_schemes),
    }
    for field, length in lengths.items():
        value = getattr(configuration, field)
        if value is not None and len(value) != length:
            basis = {axes: "patch_size", stages: "features_per_stage", stages - 1: "features_per_stage"}
            other = "normalization_schemes" if field == "use_mask_for_norm" else basis[length]
            raise FieldError(field, value, f"{length} entries, to agree with {other}")
    for field in ("kernel_sizes", "strides"):
        for value in getattr(configuration, field):
            if len(value) != axes:
                raise FieldError(field, value, f"{axes} numbers per stage, as many as patch_size has")
    if configuration.n_conv_per_stage is None and configuration.n_blocks_per_stage is None:
        raise FieldError("n_conv_per_stage", None, "the convolutions per stage, or else n_blocks_per_stage")


def _check_sampling(configuration: Configuration) -> None:
    strides = configuration.strides
    if any(step != 1 for step in strides[0]):
        raise FieldError("strides", strides[0], "1 along every axis at the first stage")
    for kernel in configuration.kernel_sizes:
        if any(size % 2 == 0 for size in kernel):
            raise FieldError("kernel_sizes", kernel, "odd numbers")
    columns = list(zip(*strides, strict=True))
    pools = tuple(sum(step > 1 for step in column) for column in columns)
    if configuration.num_pool_per_axis != pools:
        raise FieldError("num_pool_per_axis", configuration.num_pool_per_axis, f"{list(pools)}, by the strides")
    divisors = [math.prod(column) for column in columns]
    if any(size % divisor for size, divisor in zip(configuration.patch_size, divisors, strict=True)):
        raise FieldError("patch_size", configuration.patch_size, f"multiples of {divisors}, by the strides")


def _encoder_weights(configuration: Configuration) -> int:
    counts = configuration.n_conv_per_stage or configuration.n_blocks_per_stage or ()
    columns = (configuration.features_per_stage, configuration.kernel_sizes, counts)
    return sum(count * features**2 * math.prod(kernel) for features, kernel, count in zip(*columns, strict=True))
