"""Reading a case's two label maps, which must lie on the same grid, or be resampled to it on request."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.common.processes.parallel import map_cases
from umseg.common.registry import unknown_name
from umseg.common.text import by, few
from umseg.dataset.io.grid import Geometry, Unit, most_telling, placement_difference, spacings_agree
from umseg.dataset.io.images import LabelMap, read_label
from umseg.dataset.io.orientation import stored_axes, turn_onto
from umseg.dataset.io.source import Notice
from umseg.dataset.training_case import turned
from umseg.evaluation.pairs import Pair
from umseg.evaluation.resampling import resample_nearest

log = logging.getLogger(__name__)

Resample = Literal["nearest"]
"""How a prediction on another grid is brought onto that of its reference."""

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
        resampled: The grid on which the prediction is stored, if it was resampled to that of the reference.
        is_missing: Whether there is no prediction: an empty one stands in for it.
        notices: What the user should know about the two files.
    """

    prediction: NDArray[np.signedinteger[Any]]
    reference: NDArray[np.signedinteger[Any]]
    spacing: tuple[float, float, float]
    unit: Unit
    aligned: bool
    turned: tuple[str, str] | None = None
    resampled: str | None = None
    is_missing: bool = False
    notices: tuple[Notice, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What the record of the scores says about the two files."""
        notes = []
        if self.is_missing:
            notes.append("There is no prediction; the case was scored as if nothing had been predicted.")
        if self.resampled is not None:
            notes.append(
                f"The prediction has {self.resampled}; it was resampled to the reference's grid (nearest voxel)."
            )
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
    """A case's scores, and how its two files lie; the other fields are those of ``LabelPair``."""

    scores: ScoresT
    aligned: bool
    turned: tuple[str, str] | None
    resampled: str | None
    notices: tuple[Notice, ...]

    @classmethod
    def of(cls, scores: ScoresT, maps: LabelPair) -> ScoredPair[ScoresT]:
        """The scores of two label maps."""
        return cls(scores, maps.aligned, maps.turned, maps.resampled, maps.notices)


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
    resampled = [f"{name} ({entry.resampled})" for name, entry in zip(names, scored, strict=True) if entry.resampled]
    if resampled:
        log.warning(
            "Predictions that were resampled to the grid of their reference, by the nearest voxel: %d. Scores near "
            "surfaces depend on it. The cases: %s",
            len(resampled),
            few(resampled),
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


def read_pair(pair: Pair, resample: Resample | None = None) -> LabelPair:
    """Read both label maps.

    Args:
        pair: The two files.
        resample: How a prediction on another grid in space is brought onto that of the reference. None: it is refused,
            and one that only has another origin is compared voxel by voxel.

    Raises:
        UserError: A file is missing or damaged, or the two differ in shape or spacing, or they are stored along
            different axes and do not lie on the same grid in space.
    """
    reference = read_label(pair.reference)
    if pair.is_missing:
        return _with_empty_prediction(reference)
    prediction, turned, resampled = read_label(pair.prediction), None, None
    if resample is not None and not _on_one_grid(prediction, reference, pair):
        prediction, resampled = _resampled(prediction, reference, pair)
    else:
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
        resampled=resampled,
        notices=(*prediction.notices, *reference.notices),
    )


def check_resampling(resample: str | None) -> None:
    """Raise a UserError if there is no such way to resample."""
    if resample is not None and resample not in get_args(Resample):
        raise unknown_name("way to resample label maps", resample, get_args(Resample), "--resample")


def _with_empty_prediction(reference: LabelMap) -> LabelPair:
    return LabelPair(
        np.zeros_like(reference.array),
        reference.array,
        reference.spacing,
        unit="mm" if reference.geometry.unit == "mm" else "px",
        aligned=True,
        is_missing=True,
        notices=reference.notices,
    )


def _on_one_grid(prediction: LabelMap, reference: LabelMap, pair: Pair) -> bool:
    """Whether two label maps have the same voxels in space, perhaps along other axes."""
    turn = turn_onto(pair.prediction, prediction.geometry, pair.reference, reference.geometry)
    if turn is None:
        return False
    grid = turned(prediction, turn).geometry
    return (
        grid.shape == reference.geometry.shape
        and spacings_agree(grid, reference.geometry)
        and _same_place(grid, reference.geometry)
    )


def _resampled(prediction: LabelMap, reference: LabelMap, pair: Pair) -> tuple[LabelMap, str]:
    """The prediction on the grid of the reference, and the grid that it had."""
    grid, target = prediction.geometry, reference.geometry
    if grid.dimensions != target.dimensions:
        raise UserError(
            f"The prediction of case {pair.case} cannot be resampled to its reference.",
            file=pair.prediction,
            found=f"a {grid.dimensions}-D file",
            expected=f"a {target.dimensions}-D file, as {pair.reference}",
            remedy="Write the prediction with as many dimensions as the reference.",
        )
    array = resample_nearest(prediction.array, grid, target)
    spacing = " x ".join(f"{size:g}" for size in grid.spacing)
    found = f"size {by(grid.size)}, spacing {spacing}, origin {', '.join(f'{place:g}' for place in grid.origin)}"
    return replace(prediction, array=array, spacing=reference.spacing, geometry=target), found


def _along_reference(prediction: LabelMap, reference: LabelMap, pair: Pair) -> tuple[LabelMap, tuple[str, str] | None]:
    """The prediction along the reference's axes, and both orientations if it had to be turned."""
    turn = turn_onto(pair.prediction, prediction.geometry, pair.reference, reference.geometry)
    if turn is not None and not turn:
        return prediction, None
    stored, axes = (
        str(stored_axes(path, label.geometry))
        for path, label in ((pair.prediction, prediction), (pair.reference, reference))
    )
    if turn is None:
        raise UserError(
            f"The prediction and the reference of case {pair.case} are stored along different axes, and do not lie on "
            "the same grid in space.",
            file=pair.prediction,
            found=f"{stored}, {_grid(prediction.geometry)}",
            expected=f"{axes}, {_grid(reference.geometry)}, as {pair.reference}, or the same grid along other axes",
            remedy="Resample the prediction to the grid of the reference, e.g. by --resample nearest. If its header is "
            "wrong and its voxels are those of the reference, copy the reference's header.",
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
        remedy="Export the prediction on the grid of the reference image, or let --resample nearest bring it there.",
    )


def _same_place(prediction: Geometry, reference: Geometry) -> bool:
    """Whether two grids of equal shape and spacing also agree in origin and direction.

    A 2-D grid and a 3-D one of a single slice cannot be compared; they are taken to agree.
    """
    return prediction.dimensions != reference.dimensions or placement_difference(prediction, reference) is None
