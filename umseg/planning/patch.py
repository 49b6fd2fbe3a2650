"""How large a patch, and how many in a batch, for a given memory (docs/rules.md, Planning)."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from umseg.architectures.memory.model import stages_memory
from umseg.planning.presets import Preset
from umseg.planning.stages import topology_stages
from umseg.planning.topology import Topology, plan_topology

log = logging.getLogger(__name__)

MIN_BATCH_SIZE = 2
_INITIAL_EDGE = {2: 2048, 3: 256}


class MemoryRule(Protocol):
    """What fits into the memory."""

    def fits(self, topology: Topology) -> bool:
        """Whether the patch is small enough."""
        ...

    def batch_size(self, topology: Topology) -> int:
        """The largest batch of such patches, which may be 0."""
        ...


@dataclass(frozen=True)
class PublishedRule:
    """The published planners' rule: a patch's number of feature-map values against a reference value.

    Attributes:
        preset: Reference values and network.
        memory_gb: Memory to plan for; the reference values scale with it.
        num_labels: Labels including the background.
    """

    preset: Preset
    memory_gb: float
    num_labels: int

    def budget(self, dimensions: int) -> float:
        """Values that fit at the reference batch size."""
        return self.preset.reference_values[dimensions] * self.memory_gb / self.preset.memory_gb

    def fits(self, topology: Topology) -> bool:
        """Whether the reference batch, or under ``patch_at_batch_two`` a batch of two, fits."""
        dimensions = len(topology.patch_size)
        budget = self.budget(dimensions)
        if self.preset.patch_at_batch_two:
            budget *= self.preset.reference_batch_size[dimensions] / 2
        return self._estimate(topology) <= budget

    def batch_size(self, topology: Topology) -> int:
        """Rounded to the nearest number, as published."""
        dimensions = len(topology.patch_size)
        share = self.budget(dimensions) / self._estimate(topology)
        return round(share * self.preset.reference_batch_size[dimensions])

    def _estimate(self, topology: Topology) -> int:
        return self.preset.network.estimate(topology, self.num_labels)


@dataclass(frozen=True)
class ModelRule:
    """The expected training memory of one model, all its layers counted.

    Attributes:
        model: Name of the model.
        preset: Channels, and the batch that a patch must leave room for.
        memory_gb: Memory to plan for, in units of 10^9 bytes: a card that is sold with so many GB has some more.
        in_channels: Image channels.
        num_classes: Outputs of the network.
    """

    model: str
    preset: Preset
    memory_gb: float
    in_channels: int
    num_classes: int

    def fits(self, topology: Topology) -> bool:
        """Whether the reference batch, or under ``patch_at_batch_two`` a batch of two, fits."""
        dimensions = len(topology.patch_size)
        batch = 2 if self.preset.patch_at_batch_two else self.preset.reference_batch_size[dimensions]
        return self._fits(topology, batch)

    def batch_size(self, topology: Topology) -> int:
        """The largest batch that fits, by doubling and halving."""
        largest, step = 0, 1
        while self._fits(topology, largest + step):
            largest += step
            step *= 2
        while step := step // 2:
            if self._fits(topology, largest + step):
                largest += step
        return largest

    def _fits(self, topology: Topology, batch: int) -> bool:
        network, count = self.preset.network, topology.num_stages
        features = network.features(count, len(topology.patch_size))
        stages = topology_stages(
            topology, features, network.units(count), network.decoder_convs, residual=network.residual
        )
        expected = stages_memory(self.model, stages, batch, self.in_channels, self.num_classes)
        return expected.total <= self.memory_gb * 1e9


def plan_patch(spacing: Sequence[float], median: Sequence[float], rule: MemoryRule) -> Topology:
    """Largest patch within the memory, and its network (steps 1 to 3).

    The patch starts with the physical proportions of a cube, no axis longer than the median image, and loses voxels
    where it covers the largest share of the image. A patch that cannot shrink any further is returned as it is.

    Args:
        spacing: mm per axis, two or three axes.
        median: Median image in voxels per axis (maybe x.5).
        rule: Says what fits.
    """
    topology = plan_topology(spacing, initial_patch(spacing, median))
    while not rule.fits(topology):
        smaller = _shrink(topology, spacing, median)
        if smaller is None:
            log.warning("Even the smallest patch %s exceeds the memory to plan for.", topology.patch_size)
            break
        topology = smaller
    return topology


def plan_batch_size(topology: Topology, rule: MemoryRule, training_voxels: float, dataset_share: float) -> int:
    """As many patches as the memory allows and as show at most a share of the training voxels, at least two (step 4).

    Args:
        topology: The patch.
        rule: Says what fits.
        training_voxels: Voxels of all training images.
        dataset_share: Largest share of them that one batch may show.
    """
    cap = round(training_voxels * dataset_share / math.prod(topology.patch_size))
    return max(min(rule.batch_size(topology), cap), MIN_BATCH_SIZE)


def initial_patch(spacing: Sequence[float], median: Sequence[float]) -> tuple[float, ...]:
    """A cube in mm of the volume of 256³ voxels (a square of 2048² in 2-D), clipped to the median image (maybe x.5)."""
    dimensions = len(spacing)
    inverse = [1 / value for value in spacing]
    scale = (_INITIAL_EDGE[dimensions] ** dimensions / math.prod(inverse)) ** (1 / dimensions)
    return tuple(min(round(edge * scale), size) for edge, size in zip(inverse, median, strict=True))


def _shrink(topology: Topology, spacing: Sequence[float], median: Sequence[float]) -> Topology | None:
    """Take one step off the axis that covers most of the image; None if no axis can lose any more."""
    patch = topology.patch_size
    # The last of equal axes goes first.
    by_share = sorted(range(len(patch)), key=lambda axis: patch[axis] / median[axis])[::-1]
    for axis in by_share:
        tentative = _less(patch, axis, topology.divisor[axis])
        if tentative[axis] < 1:
            continue
        # The step is the divisor that the smaller patch will have, so that it needs no padding.
        smaller = _less(patch, axis, plan_topology(spacing, tentative).divisor[axis])
        return plan_topology(spacing, smaller)
    return None


def _less(patch: Sequence[int], axis: int, step: int) -> tuple[int, ...]:
    return tuple(size - step if a == axis else size for a, size in enumerate(patch))
