"""How far the surfaces of two masks are apart: NSD, HD95 and ASSD.

The surface of a mask consists of one element per cell of 2x2x2 voxels that lies neither inside nor outside: placed at
the cell, with the area that marching cubes gives it (``facets``). Beyond the array everything is
outside, so a mask that touches the border is closed there. The distance of an element is the Euclidean distance from
its cell to the nearest surface cell of the other mask (docs/rules.md, Evaluation; Nikolov et al. 2018,
arXiv:1809.04430). All lengths are in the unit of the spacing: mm, or pixels where a file does not say how large they
are.

Where a part of the image is not annotated, both masks must be given what the prediction says there, so that neither
ends where the annotation does. Elements that touch this part do not count; those beside it may still find there what
they are near to.

A 2-D mask, or a 3-D one of a single slice, is evaluated as a 2-D image in its in-plane spacing: cells of 2x2 pixels,
and lengths of the contour for areas. (As a volume of one slice, its two flat sides would count as surface.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from umseg.evaluation.metrics.facets import contour_segments, facet_normals
from umseg.evaluation.metrics.overlap import check_masks


@dataclass(frozen=True)
class SurfaceDistances:
    """The surface elements of two masks and their distances to each other's surface.

    Attributes:
        prediction: (n,) mm from each element of the prediction's surface to the reference's; infinite where that is
            empty or beyond the limit of the search.
        reference: (m,) mm from each element of the reference's surface to the prediction's.
        prediction_areas: (n,) mm² (mm in 2-D) of the elements.
        reference_areas: (m,) mm² (mm in 2-D) of the elements.
    """

    prediction: NDArray[np.float64]
    reference: NDArray[np.float64]
    prediction_areas: NDArray[np.float64]
    reference_areas: NDArray[np.float64]


def surface_dice(
    prediction: NDArray[np.bool_],
    reference: NDArray[np.bool_],
    spacing: Sequence[float],
    tolerance: float,
    unknown: NDArray[np.bool_] | None = None,
) -> float:
    """Normalised surface Dice (NSD): the share of both surfaces that lies within the tolerance of the other.

    Args:
        prediction: (z, y, x) or (y, x), boolean. A volume of one slice is evaluated as a 2-D image.
        reference: The same shape, boolean.
        spacing: mm per voxel, in the order of the axes.
        tolerance: mm; a distance equal to it is within.
        unknown: The same shape: what is not annotated, where both masks must be alike. Surface that touches it does
            not count.

    Returns:
        0 to 1; 0 where one mask is empty; NaN where both are, or where all surface touches the unknown.

    Raises:
        ValueError: The masks differ in shape or are not boolean 2-D or 3-D arrays; the spacing does not fit them
            or is not positive; the tolerance is negative.
    """
    if not tolerance >= 0:
        raise ValueError(f"the tolerance must be at least 0 mm, found {tolerance}")
    found = surface_distances(prediction, reference, spacing, limit=tolerance, unknown=unknown)
    total = found.prediction_areas.sum() + found.reference_areas.sum()
    if total == 0:
        return float("nan")
    near = found.prediction_areas[found.prediction <= tolerance].sum()
    return float((near + found.reference_areas[found.reference <= tolerance].sum()) / total)


def hd95(prediction: NDArray[np.bool_], reference: NDArray[np.bool_], spacing: Sequence[float]) -> float:
    """Robust Hausdorff distance (HD95), mm: 95 % of either surface's area are at most this far from the other.

    Arguments and errors are those of :func:`surface_dice`. Infinite where one mask is empty; NaN where both are.
    """
    found = surface_distances(prediction, reference, spacing)
    if not found.prediction.size and not found.reference.size:
        return float("nan")
    directed = ((found.prediction, found.prediction_areas), (found.reference, found.reference_areas))
    return max(_area_percentile(distances, areas, 95.0) for distances, areas in directed if distances.size)


def assd(prediction: NDArray[np.bool_], reference: NDArray[np.bool_], spacing: Sequence[float]) -> float:
    """Average symmetric surface distance (ASSD), mm: the mean over the two surfaces of their area-weighted means.

    Arguments and errors are those of :func:`surface_dice`. Infinite where one mask is empty; NaN where both are.
    """
    found = surface_distances(prediction, reference, spacing)
    if not found.prediction.size and not found.reference.size:
        return float("nan")
    if not found.prediction.size or not found.reference.size:
        return float("inf")
    return float(
        np.average(found.prediction, weights=found.prediction_areas) / 2
        + np.average(found.reference, weights=found.reference_areas) / 2
    )


def surface_distances(
    prediction: NDArray[np.bool_],
    reference: NDArray[np.bool_],
    spacing: Sequence[float],
    limit: float = float("inf"),
    unknown: NDArray[np.bool_] | None = None,
) -> SurfaceDistances:
    """Measure every surface element's distance to the other mask's surface.

    Args:
        prediction: (z, y, x) or (y, x), boolean. A volume of one slice is evaluated as a 2-D image.
        reference: The same shape, boolean.
        spacing: mm per voxel, in the order of the axes.
        limit: mm; a distance beyond may be reported as infinite, which makes the search much quicker.
        unknown: As in :func:`surface_dice`. Elements that touch it are left out of the result.

    Raises:
        ValueError: The masks differ in shape or are not boolean 2-D or 3-D arrays; or the spacing does not fit.
    """
    prediction, reference, scale = _checked(prediction, reference, spacing)
    crop = _joint_box(prediction, reference)
    cells, areas = _surface(prediction[crop], scale)
    cells_ref, areas_ref = _surface(reference[crop], scale)
    counted, counted_ref = np.ones(len(cells), np.bool_), np.ones(len(cells_ref), np.bool_)
    if unknown is not None:
        # Cell i lies between the voxels i - 1 and i; a box has one cell more than voxels.
        cells_of_crop = tuple(slice(side.start, side.stop + 1) for side in crop)
        touched = (_codes(unknown.reshape(prediction.shape)) != 0)[cells_of_crop]
        counted, counted_ref = ~touched[tuple(cells.T)], ~touched[tuple(cells_ref.T)]
    return SurfaceDistances(
        prediction=_nearest(cells[counted], cells_ref, scale, limit),
        reference=_nearest(cells_ref[counted_ref], cells, scale, limit),
        prediction_areas=areas[counted],
        reference_areas=areas_ref[counted_ref],
    )


def _checked(
    prediction: NDArray[np.bool_], reference: NDArray[np.bool_], spacing: Sequence[float]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.float64]]:
    """The masks and their spacing, without the axis of a single slice."""
    check_masks(prediction, reference)
    scale = np.asarray(spacing, dtype=np.float64)
    if prediction.ndim not in (2, 3) or scale.shape != (prediction.ndim,):
        raise ValueError(f"masks are 2-D or 3-D with one spacing per axis, found {prediction.shape} and {spacing}")
    if not (np.isfinite(scale) & (scale > 0)).all():
        raise ValueError(f"the spacing must be positive, found {spacing}")
    if prediction.ndim == 3 and prediction.shape[0] == 1:
        return prediction[0], reference[0], scale[1:]
    return prediction, reference, scale


def _joint_box(prediction: NDArray[np.bool_], reference: NDArray[np.bool_]) -> tuple[slice, ...]:
    """The smallest box around both masks; empty where both are."""
    found = ndimage.find_objects((prediction | reference).view(np.uint8), max_label=1)[0]
    return tuple(found) if found is not None else (slice(0, 0),) * prediction.ndim


def _surface(mask: NDArray[np.bool_], scale: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The cells with surface, (n, axes) voxel coordinates, and their areas (n,)."""
    codes = _codes(mask)
    cells = np.nonzero((codes != 0) & (codes != 2 ** (2**mask.ndim) - 1))
    return np.stack(cells, axis=-1), _element_areas(scale)[codes[cells]]


def _codes(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Which corners of each cell are inside: one bit per corner, the first corner the highest, the last axis fastest.

    The mask is surrounded by one layer of outside, so the result is one longer along each axis.
    """
    codes = np.pad(mask, 1).view(np.uint8)
    # Along each axis a cell joins what is known of its first and its second half.
    for axis in reversed(range(mask.ndim)):
        bits = 2 ** (mask.ndim - 1 - axis)
        first, second = [slice(None)] * mask.ndim, [slice(None)] * mask.ndim
        first[axis], second[axis] = slice(None, -1), slice(1, None)
        codes = (codes[tuple(first)] << np.uint8(bits)) | codes[tuple(second)]
    return codes


def _element_areas(scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """Area of the surface (length of the contour in 2-D) in a cell of each code, in this spacing."""
    if scale.size == 2:
        pieces: NDArray[np.float64] = contour_segments() * scale
    else:
        pieces = facet_normals() * (scale.prod() / scale)
    areas: NDArray[np.float64] = np.linalg.norm(pieces, axis=-1).sum(axis=-1)
    return areas


def _nearest(
    cells: NDArray[np.intp], others: NDArray[np.intp], scale: NDArray[np.float64], limit: float
) -> NDArray[np.float64]:
    """Distance (n,) in mm from each cell (n, axes) to the nearest of the others (m, axes)."""
    distances = np.full(len(cells), np.inf)
    if not len(cells) or not len(others):
        return distances
    tree = cKDTree(others * scale, balanced_tree=False, compact_nodes=False)
    # The search leaves out what is not strictly nearer than its bound, but the limit itself counts.
    _, index = tree.query(cells * scale, distance_upper_bound=limit + scale.min())
    found = index < len(others)
    # From whole voxels, not from coordinates in mm, whose rounding would decide about distances at the tolerance.
    offsets = (cells[found] - others[index[found]]) * scale
    distances[found] = np.sqrt((offsets**2).sum(axis=1))
    return distances


def _area_percentile(distances: NDArray[np.float64], areas: NDArray[np.float64], percent: float) -> float:
    """The smallest distance within which that part of the area lies."""
    order = np.argsort(distances)
    cumulative = np.cumsum(areas[order])
    position = int(np.searchsorted(cumulative / cumulative[-1], percent / 100))
    return float(distances[order][min(position, len(distances) - 1)])
