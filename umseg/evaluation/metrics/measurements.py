"""What metrics are computed from, measured once per class and case and only if a metric asks for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from umseg.evaluation.metrics.counts import Counts, count_voxels
from umseg.evaluation.metrics.distances import SurfaceDistances, surface_distances
from umseg.evaluation.metrics.objects import Overlaps, find_components

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Measurements:
    """One class in one case: its two masks, and what is derived from them.

    Attributes:
        prediction: (z, y, x), boolean.
        reference: The same shape.
        spacing: Length of a voxel along each axis: mm, or pixels where the files do not say how large voxels are.
        tolerance: Largest distance between surfaces that counts as agreement, in the unit of the spacing.
        voxel_ml: Volume of a voxel, ml; NaN where it is not known and in images of a single slice.
        unknown: The same shape: voxels that are not annotated, where both masks must be alike. None: there are none.
        complete: Whether some metric needs all distances, so that :attr:`near_surfaces` need not be measured apart.
        counted: The voxel counts, where they are known already.
    """

    prediction: Mask
    reference: Mask
    spacing: Sequence[float] = ()
    tolerance: float = math.nan
    voxel_ml: float = math.nan
    unknown: Mask | None = None
    complete: bool = False
    counted: Counts | None = None

    @cached_property
    def masks(self) -> tuple[Mask, Mask]:
        """Prediction and reference without the voxels that are not annotated."""
        if self.unknown is None:
            return self.prediction, self.reference
        return self.prediction & ~self.unknown, self.reference & ~self.unknown

    @cached_property
    def counts(self) -> Counts:
        """Voxel counts, without the voxels that are not annotated."""
        return count_voxels(*self.masks) if self.counted is None else self.counted

    @cached_property
    def surfaces(self) -> SurfaceDistances:
        """All distances between the two surfaces."""
        return surface_distances(self.prediction, self.reference, self.spacing, unknown=self.unknown)

    @cached_property
    def near_surfaces(self) -> SurfaceDistances:
        """The distances between the two surfaces; those beyond the tolerance may be infinite."""
        if self.complete:
            return self.surfaces
        return surface_distances(self.prediction, self.reference, self.spacing, self.tolerance, self.unknown)

    @cached_property
    def lesions(self) -> Overlaps:
        """The connected pieces of both masks, without the voxels that are not annotated, and which of them meet."""
        return find_components(*self.masks)
