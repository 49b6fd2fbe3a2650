"""The stages of a U-Net, from a finished plan or from one that is being made."""

from __future__ import annotations

import math
from collections.abc import Sequence

from umseg.architectures.stage import Stage
from umseg.planning.plan import Configuration
from umseg.planning.rules.memory import stage_sizes
from umseg.planning.rules.topology import Topology


def configuration_stages(configuration: Configuration) -> tuple[Stage, ...]:
    """The stages of a finished plan, from the full resolution down."""
    topology = Topology(
        configuration.num_pool_per_axis,
        configuration.strides,
        configuration.kernel_sizes,
        configuration.patch_size,
        divisor=tuple(math.prod(column) for column in zip(*configuration.strides, strict=True)),
    )
    nothing = (None,) * configuration.num_stages
    return _stages(
        topology,
        configuration.features_per_stage,
        configuration.n_conv_per_stage or nothing,
        configuration.n_blocks_per_stage or nothing,
        # The plan lists decoder stages from the deepest one up; the last stage has no decoder.
        (*configuration.n_conv_per_stage_decoder[::-1], 0),
    )


def topology_stages(
    topology: Topology,
    features: Sequence[int],
    units: Sequence[int] | None = None,
    decoder_convs: int = 2,
    *,
    residual: bool = False,
) -> tuple[Stage, ...]:
    """The stages of a plan that is still being made, from the full resolution down.

    Args:
        topology: Sizes, strides and kernels of the stages.
        features: Number of channels of each stage.
        units: Number of convolutions, or of residual blocks under ``residual``, per encoder stage; two if None.
        decoder_convs: Number of convolutions of every decoder stage.
        residual: Whether the encoder is a residual one.
    """
    units = units or (2,) * topology.num_stages
    nothing = (None,) * topology.num_stages
    convs, blocks = (nothing, units) if residual else (units, nothing)
    return _stages(topology, features, convs, blocks, (decoder_convs,) * topology.num_stages)


def _stages(
    topology: Topology,
    features: Sequence[int],
    encoder_convs: Sequence[int | None],
    encoder_blocks: Sequence[int | None],
    decoder_convs: Sequence[int],
) -> tuple[Stage, ...]:
    columns = (stage_sizes(topology), topology.strides, topology.kernel_sizes)
    counts = (encoder_convs, encoder_blocks, decoder_convs)
    return tuple(Stage(*values) for values in zip(features, *columns, *counts, strict=True))
