"""How far the surfaces of two masks are apart.

The surface of a mask consists of one element per cell of 2x2x2 voxels that is neither inside nor outside as a whole:
it lies at the cell and has the area that marching cubes gives it (``facets``). Everything beyond the array is outside,
so a mask that touches the border is closed there. The distance of an element is the Euclidean distance from its cell to
the nearest surface cell of the other mask (docs/rules.md, Evaluation; Nikolov et al. 2018, arXiv:1809.04430). All
lengths are in the unit of the spacing: mm, or pixels where a file does not say how large voxels are.

Where a part of the image is not annotated, both masks must be given the values of the prediction, so that neither ends
where the annotation does. Elements that touch this part do not count, but the elements beside it may find their nearest
neighbours there.

A 2-D mask, or a 3-D one of a single slice, is evaluated as a 2-D image in its in-plane spacing: cells of 2x2 pixels,
and lengths of the contour instead of areas. (As a volume of one slice, its two flat sides would count as surface.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from umseg.evaluation.metrics.counts import check_masks
from umseg.evaluation.metrics.facets import contour_segments, facet_normals


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

    def directed(self) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Distances and areas of the prediction's and the reference's elements, without a surface that has none."""
        both = ((self.prediction, self.prediction_areas), (self.reference, self.reference_areas))
        return [(distances, areas) for distances, areas in both if distances.size]


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
        spacing: mm per voxel along each axis.
        limit: mm; a larger distance may be reported as infinite, which makes the search much quicker.
        unknown: The same shape: voxels that are not annotated, where both masks must be alike. Elements that touch
            them are left out of the result.

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
    from scipy import ndimage  # here, so that the metrics can be listed at once

    found = ndimage.find_objects((prediction | reference).view(np.uint8), max_label=1)[0]
    return tuple(found) if found is not None else (slice(0, 0),) * prediction.ndim


def _surface(mask: NDArray[np.bool_], scale: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The cells with surface, (n, axes) voxel coordinates, and their areas (n,)."""
    codes = _codes(mask)
    cells = np.nonzero((codes != 0) & (codes != 2 ** (2**mask.ndim) - 1))
    return np.stack(cells, axis=-1), _element_areas(scale)[codes[cells]]


def _codes(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The corners of each cell that are inside: one bit per corner, the first the highest, the last axis fastest.

    The mask is surrounded by one layer of outside, so the result is one longer along each axis.
    """
    codes = np.pad(mask, 1).view(np.uint8)
    # Along each axis a cell joins the bits of its first and its second half.
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
    from scipy.spatial import cKDTree  # as above

    tree = cKDTree(others * scale, balanced_tree=False, compact_nodes=False)
    # The search finds only cells that are strictly nearer than its bound, but the limit itself counts.
    _, index = tree.query(cells * scale, distance_upper_bound=limit + scale.min())
    found = index < len(others)
    # From whole voxels, not from coordinates in mm, whose rounding would decide about distances at the tolerance.
    offsets = (cells[found] - others[index[found]]) * scale
    distances[found] = np.sqrt((offsets**2).sum(axis=1))
    return distances
