"""The scores of all folds together, by class: each validation case was segmented by the fold that had not seen it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from umseg.evaluation import InstanceMetrics, Metrics

MEAN = "mean of classes"
_OF_OBJECTS = ("F1", "precision", "recall")


@dataclass(frozen=True)
class Row:
    """The scores of a class.

    Attributes:
        name: Its name.
        cases: Number of cases where the prediction or the reference has it.
        means: Mean over these cases for each column; NaN where no case has a finite score.
        deviations: Population standard deviation, likewise.
    """

    name: str
    cases: int
    means: tuple[float, ...]
    deviations: tuple[float, ...]


@dataclass(frozen=True)
class ScoreTable:
    """The scores of a model.

    Attributes:
        keys: Name of each metric for programs.
        titles: Heading of each column, with the unit.
        meanings: What each column means, where that is known.
        rows: One for each class, and one for their mean.
        cases: Number of validation cases.
        folds: Number of folds that they belong to.
    """

    keys: tuple[str, ...]
    titles: tuple[str, ...]
    meanings: tuple[str, ...]
    rows: tuple[Row, ...]
    cases: int
    folds: int


def pooled(metrics: Sequence[Metrics | InstanceMetrics]) -> ScoreTable | None:
    """The scores of the cases of all folds; None without any, or if the folds do not have the same classes.

    Metrics that are missing in a fold are left out.
    """
    of_objects = [fold for fold in metrics if isinstance(fold, InstanceMetrics)]
    of_classes = [fold for fold in metrics if isinstance(fold, Metrics)]
    if of_objects and not of_classes:
        return _objects(of_objects)
    if not of_classes or of_objects or len({tuple(fold.labels) for fold in of_classes}) > 1:
        return None
    return _classes(of_classes)


def _classes(folds: Sequence[Metrics]) -> ScoreTable:
    known = folds[0].metrics
    keys = tuple(key for key in known if all(key in fold.metrics for fold in folds))
    rows = []
    for name in folds[0].labels:
        found = [case.classes[name] for fold in folds for case in fold.cases if case.classes[name].is_evaluable]
        rows.append(_row(name, len(found), ([scores.scores[key] for scores in found] for key in keys)))
    evaluable = [case for fold in folds for case in fold.cases if case.is_evaluable]
    over_cases = _row(MEAN, len(evaluable), ([case.scores[key] for case in evaluable] for key in keys))
    # The mean of the class means, beside the deviation of the cases' means, as in the tables of `umseg evaluate`.
    means = tuple(_mean(row.means[column] for row in rows) for column in range(len(keys)))
    rows.append(Row(MEAN, over_cases.cases, means, over_cases.deviations))
    titles = tuple(known[key].title + (f" ({known[key].unit})" if known[key].unit else "") for key in keys)
    meanings = tuple(f"{known[key].title}: {known[key].description}" for key in keys)
    tolerances = {fold.tolerance.get(name) for fold in folds for name in folds[0].labels} - {None}
    if len(tolerances) == 1 and folds[0].unit != "mixed":
        meanings += (f"Tolerance: {tolerances.pop():g} {folds[0].unit}.",)
    return ScoreTable(keys, titles, meanings, tuple(rows), sum(len(fold.cases) for fold in folds), len(folds))


def _objects(folds: Sequence[InstanceMetrics]) -> ScoreTable:
    cases = [case for fold in folds for case in fold.cases]
    columns = [*([getattr(case.objects, name) for case in cases] for name in _OF_OBJECTS), [c.Dice for c in cases]]
    evaluable = sum(not math.isnan(case.objects.F1) for case in cases)
    row = _row(folds[0].object_name, evaluable, columns)
    keys = (*(name.lower() for name in _OF_OBJECTS), "dsc")
    meanings = (
        f"F1, precision, recall: an object is found if its overlap (IoU) with one of the reference is at least "
        f"{folds[0].threshold:g}.",
        "DSC: overlap of all objects as one mask.",
    )
    return ScoreTable(keys, (*_OF_OBJECTS, "DSC"), meanings, (row,), len(cases), len(folds))


def _row(name: str, cases: int, columns: Iterable[Sequence[float]]) -> Row:
    finite = [[value for value in column if math.isfinite(value)] for column in columns]
    deviations = tuple(float(np.std(column)) if column else math.nan for column in finite)
    return Row(name, cases, tuple(map(_mean, finite)), deviations)


def _mean(values: Iterable[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return float(np.mean(finite)) if finite else math.nan
