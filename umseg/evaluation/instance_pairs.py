"""Evaluation of instance maps against references: F1 per case, and of all objects together."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.evaluation.aggregate import summarise_instances
from umseg.evaluation.alignment import LabelPair, Resample, ScoredPair, read_pair, score_pairs
from umseg.evaluation.metrics.instances import at_threshold, count_objects
from umseg.evaluation.metrics.objects import find_overlaps, match_objects
from umseg.evaluation.pairs import Pair
from umseg.evaluation.records import InstanceCase, InstanceMetrics
from umseg.kernels.labels.joint import JointCounts, count_jointly

IOU = 0.5
"""Smallest intersection over union of two objects that match, where none is given."""


def evaluate_instances(
    pairs: Sequence[Pair],
    *,
    object_name: str = "object",
    threshold: float | Sequence[float] = IOU,
    border: int = 0,
    workers: int = 0,
    quiet: bool = False,
    resample: Resample | None = None,
) -> InstanceMetrics:
    """Score instance maps, which number objects, against references that lie anywhere.

    Args:
        pairs: At least one.
        object_name: Name of the objects' class.
        threshold: Smallest intersection over union (IoU) of two objects that match; or several, the first of which is
            that of F1, precision and recall, while the scores at all of them are kept beside it.
        border: Width in voxels of the frame along the edges of the image; objects that reach into it are left out of
            both maps.
        workers: Number of processes; 0 works in this one.
        quiet: Whether to show no progress bar.
        resample: As in ``read_pair``.

    Raises:
        UserError: A file is unreadable; two files differ in shape or spacing; a value is negative; the threshold or
            the border is out of range.
    """
    thresholds = tuple(threshold) if isinstance(threshold, Sequence) else (threshold,)
    valid = thresholds and all(0 < value <= 1 for value in thresholds) and len(set(thresholds)) == len(thresholds)
    if not valid or border < 0:
        raise UserError(
            "The rule by which objects match is not valid.",
            found=f"IoU {', '.join(f'{value:g}' for value in thresholds)}, border {border}",
            expected="different IoU above 0 and at most 1, and a border of at least 0 voxels",
            remedy="Correct --iou or --border.",
        )
    score = functools.partial(_score_pair, thresholds=thresholds, border=border, resample=resample)
    return summarise_instances(score_pairs(score, pairs, workers, quiet), object_name, thresholds[0], border)


def read_instances(pair: Pair, resample: Resample | None = None) -> LabelPair:
    """Read both instance maps.

    Raises:
        UserError: As ``read_pair``, or a value is negative.
    """
    maps = read_pair(pair, resample)
    for path, array in ((pair.prediction, maps.prediction), (pair.reference, maps.reference)):
        _refuse_negative(array, path)
    return maps


def _score_pair(
    pair: Pair, thresholds: Sequence[float], border: int, resample: Resample | None
) -> ScoredPair[InstanceCase]:
    maps = read_pair(pair, resample)
    values = count_jointly(maps.prediction, maps.reference)
    _refuse_negative(values.first, pair.prediction)
    _refuse_negative(values.second, pair.reference)
    overlaps = find_overlaps(values, maps.shape, border)
    scores = [match_objects(overlaps, threshold) for threshold in thresholds]
    first = scores[0]
    case = InstanceCase(
        case=pair.case,
        shape=maps.shape,
        spacing=maps.spacing,
        unit=maps.unit,
        objects=count_objects(first.TP, first.TP + first.FP, first.TP + first.FN),
        Dice=_dice(values),
        notes=maps.notes,
        thresholds=tuple(map(at_threshold, scores)),
    )
    return ScoredPair.of(case, maps)


def _dice(values: JointCounts) -> float:
    """The DSC of all objects as one mask against all objects of the reference as another."""
    n_pred, n_ref, both = (
        int(values.voxels[chosen].sum())
        for chosen in (values.first > 0, values.second > 0, (values.first > 0) & (values.second > 0))
    )
    return 2 * both / (n_pred + n_ref) if n_pred + n_ref else math.nan


def _refuse_negative(values: NDArray[np.integer[Any]], path: Path) -> None:
    lowest = int(values.min(initial=0))
    if lowest < 0:
        raise UserError(
            "An instance map has negative values.",
            file=path,
            found=str(lowest),
            expected="0 in the background and a positive number for each object",
            remedy="Number the objects from 1.",
        )
