"""Reading a case's two label maps, which must lie on the same grid."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.dataset.grid import SPACING_TOLERANCE, Geometry, same_spacing
from umseg.dataset.images import LabelMap, read_label
from umseg.evaluation.pairs import Pair, listed

log = logging.getLogger(__name__)

# Origins closer than this part of a voxel are the same position written by different tools.
_ORIGIN_TOLERANCE = 0.1


@dataclass(frozen=True)
class LabelPair:
    """A case's two label maps as arrays.

    Attributes:
        prediction: (z, y, x).
        reference: The same shape.
        spacing: (z, y, x) in mm, of the reference.
        aligned: Whether both files claim to lie in the same place.
    """

    prediction: NDArray[np.signedinteger[Any]]
    reference: NDArray[np.signedinteger[Any]]
    spacing: tuple[float, float, float]
    aligned: bool

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels per axis."""
        z, y, x = self.reference.shape
        return z, y, x


def read_pair(pair: Pair) -> LabelPair:
    """Read both label maps.

    Raises:
        UserError: One of them is missing or damaged, or they differ in shape or spacing.
    """
    prediction, reference = read_label(pair.prediction), read_label(pair.reference)
    _check_grid(prediction, reference, pair)
    return LabelPair(
        prediction.array,
        reference.array,
        reference.spacing if reference.geometry.has_spacing else prediction.spacing,
        aligned=_same_place(prediction.geometry, reference.geometry),
    )


def warn_about_misaligned(cases: Sequence[str]) -> None:
    """Log the cases whose two label maps lie in different places."""
    if cases:
        log.warning(
            "%d predictions have another origin or direction than their reference; voxels are compared by their "
            "position in the array, which is only right if the header alone is wrong: %s",
            len(cases),
            listed(cases),
        )


def _check_grid(prediction: LabelMap, reference: LabelMap, pair: Pair) -> None:
    # The slice spacing of a single slice enters no score, and 2-D and 3-D formats state it differently.
    first = 1 if reference.array.shape[0] == 1 else 0
    told = prediction.geometry.has_spacing and reference.geometry.has_spacing
    if prediction.array.shape != reference.array.shape:
        quantity, found, expected = "shape", prediction.array.shape, reference.array.shape
    elif told and not same_spacing(prediction.spacing[first:], reference.spacing[first:]):
        quantity, found, expected = "spacing", prediction.spacing, reference.spacing
    else:
        return
    raise UserError(
        f"The prediction and the reference of case {pair.case} differ in {quantity}.",
        file=pair.prediction,
        found=f"{quantity} {_numbers(found)} (z, y, x)",
        expected=f"{quantity} {_numbers(expected)}, as in {pair.reference}",
        remedy="Export the prediction on the grid of the reference image.",
    )


def _numbers(values: Iterable[float]) -> str:
    return " x ".join(f"{value:.6g}" for value in values)


def _same_place(prediction: Geometry, reference: Geometry) -> bool:
    """Whether two grids of equal shape and spacing also agree in origin and direction."""
    if prediction.dimensions != reference.dimensions:
        return True
    shift = np.subtract(prediction.origin, reference.origin) / np.asarray(reference.spacing)
    turned = np.subtract(prediction.direction, reference.direction)
    return bool(np.abs(shift).max() <= _ORIGIN_TOLERANCE and np.abs(turned).max() <= SPACING_TOLERANCE)
