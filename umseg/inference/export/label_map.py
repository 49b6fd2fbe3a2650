"""Labels on the voxels of the image, from slabs of sums on the network's grid."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence

import torch

from umseg.inference.export.device import DeviceLabels, DevicePlanes, is_on_device
from umseg.inference.export.grid import OutputGrid
from umseg.inference.export.host import HostLabels, HostPlane
from umseg.inference.export.target import LabelArray, LabelTarget, label_numbers
from umseg.inference.windows.slab import Slab, Strip
from umseg.planning.plan import Configuration, Plan
from umseg.preprocess.case import CaseProperties

log = logging.getLogger(__name__)


class LabelExport:
    """The label map of a case, written slab by slab.

    Logits are interpolated linearly, or taken from the nearest voxel along an axis that is resampled separately. The
    label of a voxel is the class of its largest logit, the lowest of equal ones; with regions the value of the last
    region whose logit is positive, or background. Memory beyond the label map is that of two planes. Slabs on a device
    are resampled there, as long as its memory suffices.

    Args:
        properties: Properties that preprocessing returned for the case.
        plan: Plan that gives the axis order of the original image.
        configuration: Configuration that the logits are computed for.
        region_values: With regions: the value of each output; later regions overwrite earlier ones. None: output c is
            class c.
    """

    def __init__(
        self,
        properties: CaseProperties,
        plan: Plan,
        configuration: Configuration,
        region_values: Sequence[int] | None = None,
    ) -> None:
        self._properties, self._plan, self._region_values = properties, plan, region_values
        self._grid = OutputGrid.of(properties, configuration)
        self._planes = properties.shape_after_resampling[0]
        self._labels: HostLabels | None = None
        self._on_device: DeviceLabels | None = None
        self._last: dict[Strip, HostPlane | DevicePlanes] = {}

    def add(self, slab: Slab) -> None:
        """Write what lies between the planes of a slab, and between them and the plane before.

        Args:
            slab: Finished planes of a strip. Slabs of a strip come in ascending order without gaps, strips in any.
        """
        labels = self._prepared(slab)
        last = self._last.pop(slab.strip, None)
        kept: HostPlane | DevicePlanes | None = self._add_on_device(slab, last)
        if kept is None:
            kept = labels.add(slab, last.on_host(regions=labels.regions) if isinstance(last, DevicePlanes) else last)
        stop = slab.start + len(slab.weights)
        if stop < self._planes:
            self._last[slab.strip] = kept
        planes = self._grid.z.span(slab.start if last is None else slab.start - 1, stop)
        labels.target.missing[planes, self._grid.y.span(slab.strip.start, slab.strip.stop)] = False

    def passing(self, slabs: Iterable[Slab]) -> Iterator[Slab]:
        """Add slabs and hand them on, for those who make something else of them at the same time."""
        for slab in slabs:
            self.add(slab)
            yield slab

    def label_map(self) -> LabelArray:
        """The label map of the original image, when all slabs have been added.

        Returns:
            (z, y, x) in the original axis order and shape, uint8 (uint16 for values above 255); background outside the
            nonzero region.

        Raises:
            ValueError: Some slabs have not been added.
        """
        if self._labels is None:
            raise ValueError("no slab has been added")
        return self._labels.target.label_map()

    def _prepared(self, slab: Slab) -> HostLabels:
        """The label map in the making: the first slab says how many outputs there are."""
        if self._labels is None:
            numbers = label_numbers(len(slab.sums), self._region_values)
            target = LabelTarget(self._properties, self._plan, numbers.dtype)
            regions = self._region_values is not None
            self._labels = HostLabels(self._grid, target, numbers, regions)
            if is_on_device(slab.sums):
                self._on_device = DeviceLabels(self._grid, target, numbers, regions)
        return self._labels

    def _add_on_device(self, slab: Slab, last: HostPlane | DevicePlanes | None) -> DevicePlanes | None:
        """Write a slab on its device; None where that is the CPU, or where its memory does not suffice."""
        # The sums may have moved to the CPU after the slab before.
        if self._on_device is None or not is_on_device(slab.sums) or isinstance(last, HostPlane):
            return None
        try:
            return self._on_device.add(slab, last)
        except torch.cuda.OutOfMemoryError:
            log.warning("Labels are made on the CPU, because the memory of the GPU is used up.")
            self._on_device = None
            torch.cuda.empty_cache()
            return None
