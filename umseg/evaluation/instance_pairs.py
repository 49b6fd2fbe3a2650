"""Evaluation of instance maps against references: F1 per case, and of all objects together."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.evaluation.aggregate import summarise_instances
from umseg.evaluation.alignment import LabelPair, Resample, ScoredPair, read_pair, score_pairs
from umseg.evaluation.metrics.instances import instance_f1
from umseg.evaluation.metrics.overlap import dice
from umseg.evaluation.pairs import Pair
from umseg.evaluation.records import InstanceCase, InstanceMetrics

IOU = 0.5
"""Smallest intersection over union of two objects that match, where none is given."""


def evaluate_instances(
    pairs: Sequence[Pair],
    *,
    object_name: str = "object",
    threshold: float = IOU,
    border: int = 0,
    workers: int = 0,
    quiet: bool = False,
    resample: Resample | None = None,
) -> InstanceMetrics:
    """Score instance maps, which number objects, against references that lie anywhere.

    Args:
        pairs: At least one.
        object_name: Name of the objects' class.
        threshold: Smallest intersection over union (IoU) of two objects that match.
        border: Width in voxels of the frame along the edges of the image; objects that reach into it are left out of
            both maps.
        workers: Number of processes; 0 works in this one.
        quiet: Whether to show no progress bar.
        resample: As in ``read_pair``.

    Raises:
        UserError: A file is unreadable; two files differ in shape or spacing; a value is negative; the threshold or
            the border is out of range.
    """
    if not 0 < threshold <= 1 or border < 0:
        raise UserError(
            "The rule by which objects match is not valid.",
            found=f"IoU {threshold:g}, border {border}",
            expected="an IoU above 0 and at most 1, and a border of at least 0 voxels",
            remedy="Correct --iou or --border.",
        )
    score = functools.partial(_score_pair, threshold=threshold, border=border, resample=resample)
    return summarise_instances(score_pairs(score, pairs, workers, quiet), object_name, threshold, border)


def read_instances(pair: Pair, resample: Resample | None = None) -> LabelPair:
    """Read both instance maps.

    Raises:
        UserError: As ``read_pair``, or a value is negative.
    """
    maps = read_pair(pair, resample)
    for path, array in ((pair.prediction, maps.prediction), (pair.reference, maps.reference)):
        _refuse_negative(array, path)
    return maps


def _score_pair(pair: Pair, threshold: float, border: int, resample: Resample | None) -> ScoredPair[InstanceCase]:
    maps = read_instances(pair, resample)
    case = InstanceCase(
        case=pair.case,
        shape=maps.shape,
        spacing=maps.spacing,
        unit=maps.unit,
        objects=instance_f1(maps.prediction, maps.reference, threshold, border),
        Dice=dice(maps.prediction > 0, maps.reference > 0),
        notes=maps.notes,
    )
    return ScoredPair.of(case, maps)


def _refuse_negative(array: NDArray[np.integer[Any]], path: Path) -> None:
    if int(array.min(initial=0)) < 0:
        raise UserError(
            "An instance map has negative values.",
            file=path,
            found=str(int(array.min())),
            expected="0 in the background and a positive number for each object",
            remedy="Number the objects from 1.",
        )
