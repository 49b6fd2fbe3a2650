"""Rules that decide which patches and batches fit into a given memory (docs/rules.md, Planning)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from umseg.architectures.memory.model import Measure, stages_memory
from umseg.architectures.registry import network_spec
from umseg.planning.rules.presets import Preset
from umseg.planning.rules.topology import Topology
from umseg.planning.stages import topology_stages


class MemoryRule(Protocol):
    """A rule that decides what fits into the memory.

    Attributes:
        monotone: Whether a patch is taken to fit if a larger one does, so that few patches have to be tried.
    """

    @property
    def monotone(self) -> bool:
        """Whether a patch is taken to fit if a larger one does."""

    def fits(self, topology: Topology) -> bool:
        """Whether the patch is small enough."""
        ...

    def batch_size(self, topology: Topology) -> int:
        """The largest batch of such patches, which may be 0."""
        ...


@dataclass(frozen=True)
class PublishedRule:
    """The published planners' rule, which compares a patch's number of feature-map values with a reference value.

    Attributes:
        preset: Preset with the reference values and the network.
        memory_gb: Memory to plan for; the reference values are scaled in proportion to it.
        num_labels: Number of labels, including the background.
    """

    preset: Preset
    memory_gb: float
    num_labels: int
    monotone = False

    def budget(self, dimensions: int) -> float:
        """Number of values that fit at the reference batch size."""
        return self.preset.reference_values[dimensions] * self.memory_gb / self.preset.memory_gb

    def fits(self, topology: Topology) -> bool:
        """Whether the reference batch, or under ``patch_at_batch_two`` a batch of two, fits."""
        dimensions = len(topology.patch_size)
        budget = self.budget(dimensions)
        if self.preset.patch_at_batch_two:
            budget *= self.preset.reference_batch_size[dimensions] / 2
        return self._estimate(topology) <= budget

    def batch_size(self, topology: Topology) -> int:
        """The batch that uses up the budget, rounded to the nearest whole number as published."""
        dimensions = len(topology.patch_size)
        share = self.budget(dimensions) / self._estimate(topology)
        return round(share * self.preset.reference_batch_size[dimensions])

    def _estimate(self, topology: Topology) -> int:
        return self.preset.network.estimate(topology, self.num_labels)


@dataclass(frozen=True)
class _ModelRule:
    """A rule based on the expected memory of training one model.

    Attributes:
        model: Name of the model.
        preset: Preset with the channels of the stages and the batch that a patch must leave room for.
        memory_gb: Memory to plan for, in units of 10^9 bytes; a card that is sold with so many GB has slightly more.
        in_channels: Number of image channels.
        num_classes: Number of outputs of the network.
        measure: Function that measures the memory where the model's layers are not described.
    """

    model: str
    preset: Preset
    memory_gb: float
    in_channels: int
    num_classes: int
    measure: Measure | None = None

    @property
    def budget(self) -> float:
        """Number of bytes to plan for."""
        return self.memory_gb * 1e9

    def bytes(self, topology: Topology, batch: int) -> int:
        """Number of bytes that training takes at this patch and batch size."""
        network, count = self.preset.network, topology.num_stages
        features = network.features(count, len(topology.patch_size))
        stages = topology_stages(
            topology, features, network.units(count), network.decoder_convs, residual=network.residual
        )
        expected = stages_memory(self.model, stages, batch, self.in_channels, self.num_classes, measure=self.measure)
        return expected.total

    def reference_batch(self, topology: Topology) -> int:
        """The batch that a patch must leave room for: the preset's, or two under ``patch_at_batch_two``."""
        dimensions = len(topology.patch_size)
        return 2 if self.preset.patch_at_batch_two else self.preset.reference_batch_size[dimensions]


@dataclass(frozen=True)
class CountedRule(_ModelRule):
    """A rule that counts the layers of a described U-Net; attributes as in ``_ModelRule``."""

    monotone = False

    def fits(self, topology: Topology) -> bool:
        """Whether the reference batch fits."""
        return self.bytes(topology, self.reference_batch(topology)) <= self.budget

    def batch_size(self, topology: Topology) -> int:
        """The largest batch that fits, found by doubling and halving the step."""
        largest, step = 0, 1
        while self.bytes(topology, largest + step) <= self.budget:
            largest += step
            step *= 2
        while step := step // 2:
            if self.bytes(topology, largest + step) <= self.budget:
                largest += step
        return largest


@dataclass(frozen=True)
class MeasuredRule(_ModelRule):
    """A rule that measures the training memory of any other network; attributes as in ``_ModelRule``.

    A measurement takes seconds, so that the rule makes as few as possible. It assumes that memory grows with each axis
    of the patch: a patch is not measured where a larger one has fitted or a smaller one has not. It also assumes that
    memory is a convex function of the batch size, being the largest of several sums that each grow in proportion to
    the batch.
    """

    monotone = True
    _decided: list[tuple[tuple[int, ...], int, bool]] = field(default_factory=list, compare=False, repr=False)

    def fits(self, topology: Topology) -> bool:
        """Whether the reference batch fits."""
        patch = network_spec(self.model).rounded_patch(topology.patch_size)
        batch = self.reference_batch(topology)
        for other, other_batch, fitted in self._decided:
            if len(other) != len(patch) or other_batch != batch:
                continue
            smaller, larger = (patch, other) if fitted else (other, patch)
            if all(low <= high for low, high in zip(smaller, larger, strict=True)):
                return fitted
        fitting = self.bytes(topology, batch) <= self.budget
        self._decided.append((patch, batch, fitting))
        return fitting

    def batch_size(self, topology: Topology) -> int:
        """The largest batch that fits, from a handful of measurements."""
        return largest_batch(lambda batch: self.bytes(topology, batch), self.budget)


def largest_batch(measured: Callable[[int], int], budget: float) -> int:
    """The largest batch whose memory is within the budget; 0 if a single patch exceeds it.

    Args:
        measured: Function that gives the bytes of a batch, growing and convex; it is called for few batches.
        budget: Number of bytes to plan for.
    """
    first = measured(1)
    if first > budget:
        return 0
    # Convexity: beyond a batch of 1 memory grows at least as fast as between 1 and 2.
    high = 1 + math.floor((budget - first) / max(measured(2) - first, 1))
    if high == 1:
        return 1
    low, low_bytes, high_bytes = 1, first, measured(high)
    if high_bytes <= budget:
        return high
    while high - low > 1:
        # Convexity: between two measured batches memory lies below the straight line that joins them.
        share = (budget - low_bytes) / (high_bytes - low_bytes)
        middle = min(high - 1, max(low + 1, low + math.floor(share * (high - low))))
        middle_bytes = measured(middle)
        if middle_bytes <= budget:
            low, low_bytes = middle, middle_bytes
        else:
            high, high_bytes = middle, middle_bytes
    return low
