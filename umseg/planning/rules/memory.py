"""The published planners' estimate of a network's memory: feature-map values per training sample.

Source: docs/rules.md, Planning.

The memory that a network of umseg really takes is computed in ``training_memory``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from umseg.planning.rules.topology import Topology

_MAX_FEATURES = {2: 512, 3: 320}


@dataclass(frozen=True)
class NetworkShape:
    """The U-Net that a preset plans for.

    Attributes:
        base_features: Channels of the first stage; doubled with every stage up to 512 (2-D) or 320 (3-D).
        encoder_units: Convolutions (plain) or residual blocks of two convolutions each (residual) per encoder stage;
            stages beyond the last entry have as many as that entry says.
        decoder_convs: Convolutions per decoder stage.
        residual: Whether the encoder is made of residual blocks behind a stem convolution.
    """

    base_features: int = 32
    encoder_units: tuple[int, ...] = (2,)
    decoder_convs: int = 2
    residual: bool = False

    def features(self, num_stages: int, dimensions: int) -> tuple[int, ...]:
        """Number of channels of each stage."""
        return tuple(min(self.base_features * 2**stage, _MAX_FEATURES[dimensions]) for stage in range(num_stages))

    def units(self, num_stages: int) -> tuple[int, ...]:
        """Number of convolutions or blocks of each encoder stage."""
        return tuple(self.encoder_units[min(stage, len(self.encoder_units) - 1)] for stage in range(num_stages))

    def estimate(self, topology: Topology, num_classes: int) -> int:
        """Number of feature-map values that the network computes for one patch (docs/rules.md, Planning).

        The count covers the convolutions of the encoder (and its stem and shortcuts where it is residual) and of the
        decoder, the transposed convolutions and the full-resolution head. It does not depend on kernel sizes or input
        channels.

        Args:
            topology: Stages and patch of the network.
            num_classes: Number of labels, including the background.
        """
        stages = topology.num_stages
        features = self.features(stages, len(topology.patch_size))
        values = [f * math.prod(size) for f, size in zip(features, stage_sizes(topology), strict=True)]
        per_unit = 2 if self.residual else 1
        encoder = per_unit * sum(count * value for count, value in zip(self.units(stages), values, strict=True))
        if self.residual:
            # The stem, and a shortcut convolution at the entry of each stage after the first, whose stride is never 1.
            encoder += values[0] + sum(values[1:])
        decoder = (self.decoder_convs + 1) * sum(values[:-1])
        return encoder + decoder + num_classes * math.prod(topology.patch_size)


def stage_sizes(topology: Topology) -> list[tuple[int, ...]]:
    """Voxels per axis of the feature maps of each stage."""
    size = topology.patch_size
    sizes = []
    for stride in topology.strides:
        size = tuple(n // s for n, s in zip(size, stride, strict=True))
        sizes.append(size)
    return sizes
