"""Reading a case's two label maps, which must lie on the same grid."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.common.parallel import map_cases
from umseg.dataset.io.grid import SPACING_TOLERANCE, Geometry, Unit, most_telling, spacings_agree
from umseg.dataset.io.images import LabelMap, read_label
from umseg.evaluation.pairs import Pair, listed

log = logging.getLogger(__name__)

ScoresT = TypeVar("ScoresT")

# Origins closer than this part of a voxel are the same position written by different tools.
_ORIGIN_TOLERANCE = 0.1


@dataclass(frozen=True)
class LabelPair:
    """A case's two label maps as arrays.

    Attributes:
        prediction: (z, y, x).
        reference: The same shape.
        spacing: (z, y, x), of the reference, or of the prediction where only that states it.
        unit: Of the spacing.
        aligned: Whether both files claim to lie in the same place.
    """

    prediction: NDArray[np.signedinteger[Any]]
    reference: NDArray[np.signedinteger[Any]]
    spacing: tuple[float, float, float]
    unit: Unit
    aligned: bool

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels per axis."""
        z, y, x = self.reference.shape
        return z, y, x


@dataclass(frozen=True)
class ScoredPair(Generic[ScoresT]):
    """A case's scores, and whether both files claim to lie in the same place."""

    scores: ScoresT
    aligned: bool


def score_pairs(
    score: Callable[[Pair], ScoredPair[ScoresT]], pairs: Sequence[Pair], workers: int, quiet: bool
) -> list[ScoresT]:
    """The scores of all pairs, in their order; cases whose label maps lie in different places are logged.

    Args:
        score: Scores one pair; it may run in another process.
        pairs: The cases.
        workers: Number of processes; 0 works in this one.
        quiet: No progress bar.
    """
    names = [pair.case for pair in pairs]
    scored = list(map_cases(score, pairs, names, workers=workers, title="Evaluating", quiet=quiet))
    elsewhere = [name for name, entry in zip(names, scored, strict=True) if not entry.aligned]
    if elsewhere:
        log.warning(
            "%d predictions have another origin or direction than their reference; voxels are compared by their "
            "position in the array, which is only right if the header alone is wrong: %s",
            len(elsewhere),
            listed(elsewhere),
        )
    return [entry.scores for entry in scored]


def read_pair(pair: Pair) -> LabelPair:
    """Read both label maps.

    Raises:
        UserError: One of them is missing or damaged, or they differ in shape or spacing.
    """
    prediction, reference = read_label(pair.prediction), read_label(pair.reference)
    _check_grid(prediction, reference, pair)
    told = most_telling([reference.geometry, prediction.geometry])
    return LabelPair(
        prediction.array,
        reference.array,
        reference.spacing if told is reference.geometry else prediction.spacing,
        unit="mm" if told.unit == "mm" else "px",
        aligned=_same_place(prediction.geometry, reference.geometry),
    )


def _check_grid(prediction: LabelMap, reference: LabelMap, pair: Pair) -> None:
    if prediction.array.shape != reference.array.shape:
        quantity, found, expected = "shape", prediction.array.shape, reference.array.shape
    elif not spacings_agree(prediction.geometry, reference.geometry):
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
