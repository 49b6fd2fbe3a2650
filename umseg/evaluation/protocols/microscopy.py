"""The protocol of cells in microscopy (docs/rules.md, Evaluation)."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from umseg.common.errors import UserError
from umseg.common.text import few
from umseg.dataset.instances import INTERIOR, find_instances
from umseg.evaluation.aggregate import summarise_instances
from umseg.evaluation.alignment import LabelPair, Resample, ScoredPair, score_pairs
from umseg.evaluation.instance_pairs import IOU, read_instances
from umseg.evaluation.metrics.instances import instance_f1
from umseg.evaluation.metrics.objects import score_objects
from umseg.evaluation.metrics.overlap import dice
from umseg.evaluation.pairs import Pair
from umseg.evaluation.protocols.published import over_cases, rounded
from umseg.evaluation.records import InstanceCase, InstanceMetrics, ProtocolScore, ProtocolScores, PublishedObjects

BORDER = 2
"""Width in pixels of the frame; cells that reach into it are left out."""

LARGE = 25_000_000
"""From so many pixels on, the published script scores an image in tiles."""
TILE = 2000
"""Pixels along an edge of a tile."""

Objects = NDArray[np.integer[Any]]
_TITLES = ("F1", "precision", "recall", "DSC")


def evaluate_cells(
    pairs: Sequence[Pair],
    *,
    threshold: float | None = None,
    numbered: bool = False,
    object_name: str = "cell",
    workers: int = 0,
    quiet: bool = False,
    resample: Resample | None = None,
) -> InstanceMetrics:
    """Score predicted cells against instance maps, as the published script does and corrected.

    Args:
        pairs: At least one; predictions have the classes 0 background, 1 interior and 2 boundary.
        threshold: Smallest intersection over union of two cells that match; 0.5 by default.
        numbered: Whether predictions number cells, too.
        object_name: Name of the cells in tables.
        workers: Number of processes; 0 works in this one.
        quiet: Whether to show no progress bar.
        resample: As in ``read_pair``.

    Raises:
        UserError: A file is unreadable, no image, or has other values; two files differ in shape; the threshold is out
            of range.
    """
    threshold = IOU if threshold is None else threshold
    if not 0 < threshold <= 1:
        raise UserError(
            "The rule by which objects match is not valid.",
            found=f"IoU {threshold:g}",
            expected="an IoU above 0 and at most 1",
            remedy="Correct --iou.",
        )
    score = functools.partial(_score_pair, threshold=threshold, numbered=numbered, resample=resample)
    metrics = summarise_instances(score_pairs(score, pairs, workers, quiet), object_name, threshold, BORDER)
    published = [case.published for case in metrics.cases if case.published is not None]
    scores = ProtocolScores(
        name="microscopy",
        published=_over_cases([(one.F1, one.precision, one.recall, one.Dice) for one in published]),
        corrected=_over_cases(
            [(case.objects.F1, case.objects.precision, case.objects.recall, case.Dice) for case in metrics.cases]
        ),
    )
    return metrics.model_copy(update={"protocol": scores})


def _over_cases(rows: Sequence[tuple[float, ...]]) -> dict[str, ProtocolScore]:
    return over_cases({title: [row[column] for row in rows] for column, title in enumerate(_TITLES)})


def published_cells(prediction: Objects, reference: Objects, threshold: float = IOU) -> PublishedObjects:
    """What the published script counts in one image, rounded to four digits.

    Cells in the frame of two pixels are left out. An image of at least 25,000,000 pixels is filled up with background
    to tiles of 2000 x 2000, whose counts are added; the frame then is that of each tile. Precision, recall and F1 are 0
    where nothing matches, also where neither map has a cell. The DSC is that of all cells as one mask, in the frame,
    too, and 1 where both maps are empty.

    Args:
        prediction: (y, x); 0 is the background, every other value is one cell.
        reference: The same shape, likewise.
        threshold: Smallest intersection over union of two cells that match.
    """
    found = predicted = referenced = 0
    for tile, reference_tile in zip(_tiles(prediction), _tiles(reference), strict=True):
        (scores,) = score_objects(_without_frame(tile), _without_frame(reference_tile), [threshold])
        found += scores.TP
        predicted += scores.TP + scores.FP
        referenced += scores.TP + scores.FN
    inside = prediction > 0, reference > 0
    return PublishedObjects(
        TP=found,
        FP=predicted - found,
        FN=referenced - found,
        precision=rounded(found / predicted) if found else 0.0,
        recall=rounded(found / referenced) if found else 0.0,
        F1=rounded(2 * found / (predicted + referenced)) if found else 0.0,
        Dice=rounded(dice(*inside)) if inside[0].any() or inside[1].any() else 1.0,
    )


def _score_pair(pair: Pair, threshold: float, numbered: bool, resample: Resample | None) -> ScoredPair[InstanceCase]:
    maps = read_instances(pair, resample)
    _check_cells(maps, pair, numbered)
    prediction, reference = maps.prediction, maps.reference[0]
    objects = published = prediction[0]
    if not numbered:
        published = ndimage.label(prediction[0] == INTERIOR, np.ones((3, 3)))[0]
        objects = find_instances(prediction)[0]
    case = InstanceCase(
        case=pair.case,
        shape=maps.shape,
        spacing=maps.spacing,
        unit=maps.unit,
        objects=instance_f1(objects, reference, threshold, BORDER),
        Dice=dice(objects > 0, reference > 0),
        notes=maps.notes,
        published=published_cells(published, reference, threshold),
    )
    return ScoredPair.of(case, maps)


def _check_cells(maps: LabelPair, pair: Pair, numbered: bool) -> None:
    if maps.shape[0] > 1:
        raise UserError(
            "The protocol microscopy scores images of one slice.",
            file=pair.reference,
            found=f"{maps.shape[0]} slices",
            remedy="Leave out --protocol, and score volumes with --instances.",
        )
    largest = int(maps.prediction.max(initial=0))
    if not numbered and largest > 2:
        raise UserError(
            "A prediction has values that are no class of the protocol microscopy.",
            file=pair.prediction,
            found=few(str(value) for value in np.unique(maps.prediction) if value > 2),
            expected="0 (background), 1 (interior), 2 (boundary)",
            remedy="Give --instances if the predictions number cells.",
        )


def _tiles(labels: Objects) -> Iterator[Objects]:
    """The image, or its tiles if it is large; what they have too much is background."""
    if labels.size < LARGE:
        yield labels
        return
    for row, column in itertools.product(*(range(0, size, TILE) for size in labels.shape)):
        tile = labels[row : row + TILE, column : column + TILE]
        yield np.pad(tile, [(0, TILE - size) for size in tile.shape])


def _without_frame(labels: Objects) -> Objects:
    """The labels without those that reach into the frame.

    The smallest value in and around the frame is taken for the background, which is wrong only in images that consist
    of frame and cells alone.
    """
    frame = np.ones(labels.shape, np.bool_)
    frame[BORDER:-BORDER, BORDER:-BORDER] = False
    inside = np.zeros(0 if frame.all() else 1, labels.dtype)
    reaching = np.unique(np.append(labels[frame], inside))[1:]
    return np.where(np.isin(labels, reaching), 0, labels)
