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

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from umseg.evaluation.metrics.counts import check_masks
from umseg.evaluation.metrics.facets import contour_segments, facet_normals
from umseg.kernels.surfaces.cells import SurfaceCells, surface_cells
from umseg.kernels.surfaces.nearest import nearest_distances


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
    cells, cells_ref = surface_cells(prediction), surface_cells(reference)
    counted, counted_ref = cells, cells_ref
    if unknown is not None:
        unknown = unknown.reshape(prediction.shape)
        counted, counted_ref = (found.chosen(~_touching(found, unknown)) for found in (cells, cells_ref))
    areas = _element_areas(scale)
    return SurfaceDistances(
        prediction=nearest_distances(counted, cells_ref, scale, limit),
        reference=nearest_distances(counted_ref, cells, scale, limit),
        prediction_areas=areas[counted.codes],
        reference_areas=areas[counted_ref.codes],
    )


def _checked(
    prediction: NDArray[np.bool_], reference: NDArray[np.bool_], spacing: Sequence[float]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], tuple[float, ...]]:
    """The masks and their spacing, without the axis of a single slice."""
    check_masks(prediction, reference)
    scale = tuple(map(float, spacing))
    if prediction.ndim not in (2, 3) or len(scale) != prediction.ndim:
        raise ValueError(f"masks are 2-D or 3-D with one spacing per axis, found {prediction.shape} and {spacing}")
    if not all(0 < side < math.inf for side in scale):
        raise ValueError(f"the spacing must be positive, found {spacing}")
    if prediction.ndim == 3 and prediction.shape[0] == 1:
        return prediction[0], reference[0], scale[1:]
    return prediction, reference, scale


def _touching(cells: SurfaceCells, unknown: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether each cell has a corner among the voxels that are not annotated."""
    axes = unknown.ndim
    padded, corners = np.pad(unknown, 1), cells.coordinates().T[-axes:]
    touched = np.zeros(len(cells.xs), np.bool_)
    for offset in itertools.product((0, 1), repeat=axes):
        touched |= padded[tuple(corner + step for corner, step in zip(corners, offset, strict=True))]
    return touched


@lru_cache(maxsize=64)
def _element_areas(scale: tuple[float, ...]) -> NDArray[np.float64]:
    """Area of the surface (length of the contour in 2-D) in a cell of each code, in this spacing."""
    if len(scale) == 2:
        pieces: NDArray[np.float64] = contour_segments() * scale
    else:
        pieces = facet_normals() * (np.prod(scale) / scale)
    areas: NDArray[np.float64] = np.linalg.norm(pieces, axis=-1).sum(axis=-1)
    return areas
