"""Evaluation of label maps that nothing describes: their classes are the values that occur. Each file is read once.

Which classes there are is known when the last file has been read. Each case is scored on its own values at once; the
classes that only other cases have are completed afterwards: their scores need no voxels.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from umseg.dataset.io.grid import Unit
from umseg.evaluation.aggregate import summarise_case
from umseg.evaluation.alignment import Resample, ScoredPair, read_pair, score_pairs
from umseg.evaluation.case import score_labels
from umseg.evaluation.classes import Classes, class_tolerances, make_classes
from umseg.evaluation.found_labels import name_values
from umseg.evaluation.metrics.metric import Metric
from umseg.evaluation.pairs import Pair
from umseg.evaluation.records import CaseMetrics, ClassScores
from umseg.kernels.labels.joint import count_jointly


@dataclass(frozen=True)
class _OwnScores:
    """A case scored on the values that it has itself; the first fields are those of ``CaseMetrics``."""

    case: str
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    unit: Unit
    classes: dict[str, ClassScores]
    notes: tuple[str, ...]
    predicted: frozenset[int]
    referenced: frozenset[int]


def score_undescribed(
    pairs: Sequence[Pair],
    *,
    metrics: Sequence[Metric],
    ignore_label: int | None,
    tolerance: float,
    workers: int = 0,
    quiet: bool = False,
    resample: Resample | None = None,
    both_empty: float = math.nan,
) -> tuple[list[CaseMetrics], Classes]:
    """The scores of every case, and the classes: every value that occurs, under the names "1", "2", ...

    Args:
        pairs: At least one.
        metrics: The scores to compute.
        ignore_label: Value of the reference's voxels that nobody annotated.
        tolerance: Tolerance of surface distances, for all classes.
        workers: Number of processes; 0 works in this one.
        quiet: Whether to show no progress bar.
        resample: As in ``read_pair``.
        both_empty: As in ``score_labels``.

    Raises:
        UserError: A file is unreadable; two files do not lie on one grid; a value is negative or too large for a class;
            no file has any; the tolerance is not valid.
    """
    score = functools.partial(
        _score_own_values,
        metrics=metrics,
        ignore_label=ignore_label,
        tolerance=tolerance,
        resample=resample,
        both_empty=both_empty,
    )
    cases = score_pairs(score, pairs, workers, quiet)
    predicted, referenced = (
        frozenset[int]().union(*sides) for sides in zip(*((c.predicted, c.referenced) for c in cases), strict=True)
    )
    labels = name_values(predicted, referenced, ignore_label)
    classes = make_classes(labels, ignore_label, pairs[0].reference.parent)
    return [_completed(case, classes, metrics, both_empty) for case in cases], classes


def _score_own_values(
    pair: Pair,
    metrics: Sequence[Metric],
    ignore_label: int | None,
    tolerance: float,
    resample: Resample | None,
    both_empty: float,
) -> ScoredPair[_OwnScores]:
    maps = read_pair(pair, resample)
    values = count_jointly(maps.prediction, maps.reference)
    predicted, referenced = frozenset(values.first.tolist()) - {0}, frozenset(values.second.tolist()) - {0}
    own = {str(value): value for value in sorted(predicted | referenced) if value != ignore_label}
    scores: dict[str, ClassScores] = {}
    if own:
        classes = make_classes(own, ignore_label, pair.reference.parent)
        classes.check(predicted, pair.prediction, is_reference=False)
        tolerances = class_tolerances(tolerance, classes)
        scores = score_labels(
            maps.prediction, maps.reference, maps.spacing, classes, tolerances, maps.unit, metrics, values, both_empty
        )
    scored = _OwnScores(pair.case, maps.shape, maps.spacing, maps.unit, scores, maps.notes, predicted, referenced)
    return ScoredPair.of(scored, maps)


def _completed(case: _OwnScores, classes: Classes, metrics: Sequence[Metric], both_empty: float) -> CaseMetrics:
    """The case with the classes that it does not have; two planes of a volume without any voxel stand in for it."""
    others = {name: values for name, values in classes.values.items() if name not in case.classes}
    scores = dict(case.classes)
    if others:
        nothing = np.zeros((min(case.shape[0], 2), 1, 1), np.int8)
        absent = Classes(others, classes.ignore_label)
        tolerances = dict.fromkeys(others, 0.0)
        scores |= score_labels(
            nothing, nothing, case.spacing, absent, tolerances, case.unit, metrics, both_empty=both_empty
        )
    ordered = {name: scores[name] for name in classes.values}
    return summarise_case(case.case, case.shape, case.spacing, case.unit, ordered, case.notes)
