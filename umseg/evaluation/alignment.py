"""Reading a case's two label maps, which must lie on the same grid."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.common.processes.parallel import map_cases
from umseg.common.text import by, few
from umseg.dataset.io.grid import Geometry, Unit, most_telling, placement_difference, spacings_agree
from umseg.dataset.io.images import LabelMap, read_label
from umseg.dataset.io.orientation import stored_axes, turn_onto
from umseg.dataset.io.source import Notice
from umseg.dataset.training_case import turned
from umseg.evaluation.pairs import Pair
from umseg.evaluation.resampling import can_resample, resample_nearest

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
        aligned: Whether the headers of both files agree in origin and direction, perhaps after the prediction was
            turned.
        turned: The orientation in which the prediction is stored, and that of the reference, to which it was turned;
            None if both are stored along the same axes.
        notices: What the user should know about the two files.
        absent: Whether there is no prediction, which counts as an empty one.
        resampled: The grid on which the prediction is stored, if it was brought to that of the reference.
    """

    prediction: NDArray[np.signedinteger[Any]]
    reference: NDArray[np.signedinteger[Any]]
    spacing: tuple[float, float, float]
    unit: Unit
    aligned: bool
    turned: tuple[str, str] | None = None
    notices: tuple[Notice, ...] = ()
    absent: bool = False
    resampled: str | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What the record of the scores says about the two files."""
        notes = []
        if self.absent:
            notes.append("There is no prediction; it counts as an empty one.")
        if self.resampled is not None:
            notes.append(f"The prediction has another grid, {self.resampled}; it was resampled to the reference's.")
        if self.turned is not None:
            stored, axes = self.turned
            notes.append(f"The prediction is stored as {stored}; it was turned to the reference's axes, {axes}.")
        if not self.aligned:
            notes.append("Origin or direction differ from the reference's; voxels were compared by their position.")
        return tuple(notes)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels per axis."""
        z, y, x = self.reference.shape
        return z, y, x


@dataclass(frozen=True)
class ScoredPair(Generic[ScoresT]):
    """A case's scores, and how its two files lie; the fields are those of ``LabelPair``."""

    scores: ScoresT
    aligned: bool
    turned: tuple[str, str] | None = None
    notices: tuple[Notice, ...] = ()


def score_pairs(
    score: Callable[[Pair], ScoredPair[ScoresT]], pairs: Sequence[Pair], workers: int, quiet: bool
) -> list[ScoresT]:
    """The scores of all pairs, in their order; cases whose files do not lie alike are logged.

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
    turned = {name: f"{name} ({entry.turned[0]})" for name, entry in zip(names, scored, strict=True) if entry.turned}
    if turned:
        log.warning(
            "Predictions that are stored along other axes than their reference, on the same grid in space: %d. They "
            "were turned to the axes of the reference. The cases: %s",
            len(turned),
            few(turned.values()),
        )
    _tell([notice for entry in scored for notice in entry.notices])
    return [entry.scores for entry in scored]


def _tell(notices: Sequence[Notice]) -> None:
    """Log each kind of notice once, with the files that it is about."""
    kinds: dict[str, list[Notice]] = {}
    for notice in notices:
        kinds.setdefault(notice.problem, []).append(notice)
    for problem, found in kinds.items():
        files = few(f"{notice.file.name} ({notice.found})" for notice in found)
        log.warning("%s Label maps concerned: %d: %s. %s", problem, len(found), files, found[0].remedy)


def read_pair(pair: Pair, *, resample: bool = False) -> LabelPair:
    """Read both label maps.

    Args:
        pair: The files; without a prediction all its voxels are 0.
        resample: Whether a prediction on another grid is brought to that of the reference (``resample_nearest``).

    Raises:
        UserError: A file is missing or damaged, or the two differ in shape or spacing, or they are stored along
            different axes and do not lie on the same grid in space.
    """
    reference = read_label(pair.reference)
    unit: Unit = "mm" if reference.geometry.unit == "mm" else "px"
    if pair.absent:
        nothing = np.zeros_like(reference.array)
        return LabelPair(nothing, reference.array, reference.spacing, unit, True, None, reference.notices, absent=True)
    prediction = read_label(pair.prediction)
    if (
        resample
        and _is_other_grid(pair, prediction, reference)
        and can_resample(prediction.geometry, reference.geometry)
    ):
        found = resample_nearest(prediction, reference.geometry)
        notices = (*prediction.notices, *reference.notices)
        grid = f"{by(prediction.geometry.size)} voxels of {by(f'{size:g}' for size in prediction.geometry.spacing)} mm"
        return LabelPair(found.array, reference.array, reference.spacing, unit, True, None, notices, resampled=grid)
    prediction, turned = _along_reference(prediction, reference, pair)
    _check_grid(prediction, reference, pair)
    stated = most_telling([reference.geometry, prediction.geometry])
    return LabelPair(
        prediction.array,
        reference.array,
        reference.spacing if stated is reference.geometry else prediction.spacing,
        unit="mm" if stated.unit == "mm" else "px",
        aligned=_same_place(prediction.geometry, reference.geometry),
        turned=turned,
        notices=(*prediction.notices, *reference.notices),
    )


def _is_other_grid(pair: Pair, prediction: LabelMap, reference: LabelMap) -> bool:
    """Whether the prediction lies on another grid in space, however its axes are stored."""
    turn = turn_onto(pair.prediction, prediction.geometry, pair.reference, reference.geometry)
    if turn is None:
        return True
    along = turned(prediction, turn).geometry if turn else prediction.geometry
    return along.size != reference.geometry.size or placement_difference(along, reference.geometry) is not None


def _along_reference(prediction: LabelMap, reference: LabelMap, pair: Pair) -> tuple[LabelMap, tuple[str, str] | None]:
    """The prediction along the reference's axes, and both orientations if it had to be turned."""
    turn = turn_onto(pair.prediction, prediction.geometry, pair.reference, reference.geometry)
    if turn is not None and not turn:
        return prediction, None
    files = ((pair.prediction, prediction), (pair.reference, reference))
    stored, axes = (str(stored_axes(file, label.geometry)) for file, label in files)
    if turn is None:
        raise UserError(
            f"The prediction and the reference of case {pair.case} are stored along different axes, and do not lie on "
            "the same grid in space.",
            file=pair.prediction,
            found=f"{stored}, {_grid(prediction.geometry)}",
            expected=f"{axes}, {_grid(reference.geometry)}, as {pair.reference}, or the same grid along other axes",
            remedy="Resample the prediction to the grid of the reference, for example by --resample nearest. If its "
            "header is wrong and its voxels are those of the reference, copy the reference's header.",
        )
    return turned(prediction, turn), (stored, axes)


def _grid(grid: Geometry) -> str:
    place = ", ".join(f"{value:g}" for value in grid.origin)
    return f"size {by(grid.size)}, origin {place} mm"


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
        remedy="Export the prediction on the grid of the reference image; where both say where they lie in space, "
        "--resample nearest brings it there.",
    )


def _same_place(prediction: Geometry, reference: Geometry) -> bool:
    """Whether two grids of equal shape and spacing also agree in origin and direction.

    A 2-D grid and a 3-D one of a single slice cannot be compared; they are taken to agree.
    """
    return prediction.dimensions != reference.dimensions or placement_difference(prediction, reference) is None
