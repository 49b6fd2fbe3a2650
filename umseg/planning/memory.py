"""The planner's estimate of a network's memory: feature-map values per training sample (facts 1.4)."""

from __future__ import annotations

import math

from umseg.planning.topology import Topology

BASE_FEATURES = 32
_MAX_FEATURES = {2: 512, 3: 320}


def features_per_stage(num_stages: int, dimensions: int) -> tuple[int, ...]:
    """Channels per stage: 32, doubled with every stage up to 512 (2-D) or 320 (3-D)."""
    return tuple(min(BASE_FEATURES * 2**stage, _MAX_FEATURES[dimensions]) for stage in range(num_stages))


def plain_unet_estimate(topology: Topology, num_classes: int, convs: int = 2) -> int:
    """Number of feature-map values that the plain U-Net computes for one patch (the estimate E of facts 1.4).

    Counted are ``convs`` convolutions per encoder and decoder stage, the transposed convolution of each decoder stage
    and the full-resolution head. Kernel sizes and input channels do not enter.

    Args:
        topology: Stages and patch.
        num_classes: Classes including the background.
        convs: Convolutions per stage.
    """
    dimensions = len(topology.patch_size)
    features = features_per_stage(topology.num_stages, dimensions)
    values = [f * math.prod(size) for f, size in zip(features, stage_sizes(topology), strict=True)]
    encoder = convs * sum(values)
    decoder = (convs + 1) * sum(values[:-1])
    return encoder + decoder + num_classes * math.prod(topology.patch_size)


def stage_sizes(topology: Topology) -> list[tuple[int, ...]]:
    """Voxels per axis of the feature maps of each stage."""
    size = topology.patch_size
    sizes = []
    for stride in topology.strides:
        size = tuple(n // s for n, s in zip(size, stride, strict=True))
        sizes.append(size)
    return sizes
