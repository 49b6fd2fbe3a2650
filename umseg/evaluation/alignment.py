"""Reading a case's two label maps, which must lie on the same grid."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.common.parallel import map_cases
from umseg.common.text import by, few
from umseg.dataset.io.grid import Geometry, Unit, most_telling, placement_difference, spacings_agree
from umseg.dataset.io.images import LabelMap, read_label
from umseg.evaluation.pairs import Pair

log = logging.getLogger(__name__)

ScoresT = TypeVar("ScoresT")


@dataclass(frozen=True)
class LabelPair:
    """A case's two label maps as arrays.

    Attributes:
        prediction: (z, y, x).
        reference: The same shape.
        spacing: Spacing of the reference along z, y, x, or that of the prediction where only the prediction states it.
        unit: Unit of the spacing.
        aligned: Whether the headers of both files agree in origin and direction.
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
    """A case's scores, and whether the headers of both files agree in origin and direction."""

    scores: ScoresT
    aligned: bool


def score_pairs(
    score: Callable[[Pair], ScoredPair[ScoresT]], pairs: Sequence[Pair], workers: int, quiet: bool
) -> list[ScoresT]:
    """The scores of all pairs, in their order; cases whose headers differ in origin or direction are logged.

    Args:
        score: Function that scores one pair; it may run in another process.
        pairs: The cases.
        workers: Number of processes; 0 works in this one.
        quiet: Whether to show no progress bar.
    """
    names = [pair.case for pair in pairs]
    scored = list(map_cases(score, pairs, names, workers=workers, title="Evaluating", quiet=quiet))
    misplaced = [name for name, entry in zip(names, scored, strict=True) if not entry.aligned]
    if misplaced:
        log.warning(
            "Predictions that have another origin or direction than their reference: %d. Voxels are compared by their "
            "position in the array, which is only right if nothing but the header is wrong. The cases: %s",
            len(misplaced),
            few(misplaced),
        )
    return [entry.scores for entry in scored]


def read_pair(pair: Pair) -> LabelPair:
    """Read both label maps.

    Raises:
        UserError: A file is missing or damaged, or the two differ in shape or spacing.
    """
    prediction, reference = read_label(pair.prediction), read_label(pair.reference)
    _check_grid(prediction, reference, pair)
    stated = most_telling([reference.geometry, prediction.geometry])
    return LabelPair(
        prediction.array,
        reference.array,
        reference.spacing if stated is reference.geometry else prediction.spacing,
        unit="mm" if stated.unit == "mm" else "px",
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
        found=f"{quantity} {by(found)} (z, y, x)",
        expected=f"{quantity} {by(expected)}, as in {pair.reference}",
        remedy="Export the prediction on the grid of the reference image.",
    )


def _same_place(prediction: Geometry, reference: Geometry) -> bool:
    """Whether two grids of equal shape and spacing also agree in origin and direction.

    A 2-D grid and a 3-D one of a single slice cannot be compared; they are taken to agree.
    """
    return prediction.dimensions != reference.dimensions or placement_difference(prediction, reference) is None
