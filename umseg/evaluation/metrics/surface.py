"""Metrics of surface distances: NSD, HD, HD95, ASSD and MASD; see ``distances`` for what a surface is."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from umseg.evaluation.metrics.measurements import Mask, Measurements
from umseg.evaluation.metrics.metric import Metric


def surface_dice(
    prediction: Mask,
    reference: Mask,
    spacing: Sequence[float],
    tolerance: float,
    unknown: Mask | None = None,
) -> float:
    """Normalised surface Dice (NSD): the fraction of the two surfaces that lies within the tolerance of each other.

    Args:
        prediction: (z, y, x) or (y, x), boolean. A volume of one slice is evaluated as a 2-D image.
        reference: The same shape, boolean.
        spacing: mm per voxel along each axis.
        tolerance: mm; a distance equal to it is within.
        unknown: The same shape: voxels that are not annotated, where both masks must be alike. Surface that touches
            them does not count.

    Returns:
        0 to 1; 0 where one mask is empty; NaN where both are, or where all surface touches unknown voxels.

    Raises:
        ValueError: The masks differ in shape or are not boolean 2-D or 3-D arrays; the spacing does not fit them
            or is not positive; the tolerance is negative.
    """
    if not tolerance >= 0:
        raise ValueError(f"the tolerance must be at least 0 mm, found {tolerance}")
    return _nsd(Measurements(prediction, reference, spacing, tolerance, unknown=unknown))


def hd95(prediction: Mask, reference: Mask, spacing: Sequence[float], unknown: Mask | None = None) -> float:
    """Robust Hausdorff distance (HD95), mm: 95 % of either surface's area lie at most this far from the other surface.

    Arguments and errors are those of :func:`surface_dice`. Infinite where one mask is empty; NaN where both are, or
    where all surface touches unknown voxels.
    """
    return _hd95(Measurements(prediction, reference, spacing, unknown=unknown))


def assd(prediction: Mask, reference: Mask, spacing: Sequence[float], unknown: Mask | None = None) -> float:
    """Average symmetric surface distance (ASSD), mm: the mean over the two surfaces of their area-weighted means.

    Arguments and errors are those of :func:`surface_dice`. Infinite where one mask is empty; NaN where both are, or
    where all surface touches unknown voxels.
    """
    return _assd(Measurements(prediction, reference, spacing, unknown=unknown))


def hd(prediction: Mask, reference: Mask, spacing: Sequence[float], unknown: Mask | None = None) -> float:
    """Hausdorff distance (HD), mm: the largest distance of either surface from the other.

    Arguments and errors are those of :func:`surface_dice`. Infinite where one mask is empty; NaN where both are, or
    where all surface touches unknown voxels.
    """
    return _hd(Measurements(prediction, reference, spacing, unknown=unknown))


def assd_pooled(prediction: Mask, reference: Mask, spacing: Sequence[float], unknown: Mask | None = None) -> float:
    """Mean distance over both surfaces taken together, mm, weighted by area: the ASSD of Metrics Reloaded.

    It differs from :func:`assd`, the mean of the two surfaces' means, where one surface is larger than the other.
    Metrics Reloaded (Maier-Hein et al. 2024, doi:10.1038/s41592-023-02151-z) calls that one MASD.

    Arguments and errors are those of :func:`surface_dice`. Infinite where one mask is empty; NaN where both are, or
    where all surface touches unknown voxels.
    """
    return _assd_pooled(Measurements(prediction, reference, spacing, unknown=unknown))


def _nsd(measured: Measurements) -> float:
    found, tolerance = measured.near_surfaces, measured.tolerance
    total = found.prediction_areas.sum() + found.reference_areas.sum()
    if total == 0:
        return math.nan
    near = found.prediction_areas[found.prediction <= tolerance].sum()
    return float((near + found.reference_areas[found.reference <= tolerance].sum()) / total)


def _hd95(measured: Measurements) -> float:
    return max((_area_percentile(*side, 95.0) for side in measured.surfaces.directed()), default=math.nan)


def _assd(measured: Measurements) -> float:
    means = [np.average(distances, weights=areas) for distances, areas in measured.surfaces.directed()]
    return float(sum(mean / len(means) for mean in means)) if means else math.nan


def _hd(measured: Measurements) -> float:
    return max((float(distances.max()) for distances, _ in measured.surfaces.directed()), default=math.nan)


def _assd_pooled(measured: Measurements) -> float:
    sides = measured.surfaces.directed()
    total = float(sum(areas.sum() for _, areas in sides))
    return float(sum((distances * areas).sum() for distances, areas in sides)) / total if total else math.nan


def _area_percentile(distances: NDArray[np.float64], areas: NDArray[np.float64], percent: float) -> float:
    """The smallest distance within which that part of the area lies."""
    order = np.argsort(distances)
    cumulative = np.cumsum(areas[order])
    position = int(np.searchsorted(cumulative / cumulative[-1], percent / 100))
    return float(distances[order][min(position, len(distances) - 1)])


NSD = Metric(
    key="nsd",
    title="NSD",
    description="fraction of the two surfaces (2-D: contours) within the tolerance of each other; 1 is perfect.",
    unit="",
    better="higher",
    needs="near_surfaces",
    function=_nsd,
)
HD95 = Metric(
    key="hd95",
    title="HD95",
    description="distance within which 95 % of each surface lie from the other; 0 is perfect.",
    unit="mm",
    better="lower",
    needs="surfaces",
    function=_hd95,
)
ASSD = Metric(
    key="assd",
    title="ASSD",
    description="mean distance of each surface from the other, averaged over the two; 0 is perfect.",
    unit="mm",
    better="lower",
    needs="surfaces",
    function=_assd,
)
HD = Metric(
    key="hd",
    title="HD",
    description="largest distance of each surface from the other; 0 is perfect.",
    unit="mm",
    better="lower",
    needs="surfaces",
    function=_hd,
)
MASD = Metric(
    key="masd",
    title="MASD",
    description="ASSD under the name that Metrics Reloaded gives it: the mean of the surfaces' two mean distances from "
    "each other; 0 is perfect.",
    unit="mm",
    better="lower",
    needs="surfaces",
    function=_assd,
)
ASSD_POOLED = Metric(
    key="assd_pooled",
    title="pooled ASSD",
    description="mean distance over both surfaces together, the ASSD of Metrics Reloaded; 0 is perfect.",
    unit="mm",
    better="lower",
    needs="surfaces",
    function=_assd_pooled,
)
