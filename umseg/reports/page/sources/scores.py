"""Scores as a page shows them: the same form for classes and for objects, pooled over folds, with their statistics."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from umseg.common.text import few
from umseg.evaluation.metrics.metric import Better
from umseg.evaluation.records import CaseMetrics, InstanceCase, InstanceMetrics, Metrics
from umseg.evaluation.statistics.intervals import mean_interval

MEAN = "mean of classes"
_OF_OBJECTS = {
    "f1": ("F1", "objects that are found, twice their number over the objects of both label maps; 1 is perfect."),
    "precision": ("precision", "fraction of the predicted objects that are right."),
    "recall": ("recall", "fraction of the reference's objects that are found."),
    "dsc": ("DSC", "overlap of all objects as one mask; 1 is perfect."),
}
_FIELDS = {"f1": "F1", "precision": "precision", "recall": "recall"}


@dataclass(frozen=True)
class Column:
    """A metric.

    Attributes:
        key: Name for programs.
        title: Name in tables, with the unit.
        better: Which scores are better.
        meaning: One sentence.
    """

    key: str
    title: str
    better: Better
    meaning: str

    @property
    def digits(self) -> int:
        """Digits behind the point: a length needs fewer than a ratio."""
        return 2 if self.title.endswith(")") else 3


@dataclass(frozen=True)
class CaseScores:
    """One case.

    Attributes:
        case: Its name.
        of_class: Class to metric to score; NaN where there is none.
        mean: Metric to the mean over classes.
        amount: Class to its volume, or number of objects, in the reference; NaN where that is not known.
        predicted: The same in the prediction.
        notes: What the evaluation says about its files.
    """

    case: str
    of_class: Mapping[str, Mapping[str, float]]
    mean: Mapping[str, float]
    amount: Mapping[str, float]
    predicted: Mapping[str, float]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scores:
    """The scores of one set of predictions.

    Attributes:
        columns: The metrics; the first is the one that cases are ordered by.
        classes: Names of the classes.
        cases: Every case, sorted by name.
        amount: What ``CaseScores.amount`` counts, e.g. ``volume (ml)``.
        notes: How scores were computed, and what was left out.
    """

    columns: tuple[Column, ...]
    classes: tuple[str, ...]
    cases: tuple[CaseScores, ...]
    amount: str
    notes: tuple[str, ...] = ()

    @property
    def main(self) -> Column:
        """The metric that cases are ordered by."""
        return self.columns[0]

    @cached_property
    def by_name(self) -> dict[str, CaseScores]:
        """The cases by their names."""
        return {case.case: case for case in self.cases}

    def values(self, key: str, name: str | None = None) -> dict[str, float]:
        """Case to finite score, of a class or of the mean over classes."""
        found = {case.case: (case.mean if name is None else case.of_class[name])[key] for case in self.cases}
        return {case: value for case, value in found.items() if math.isfinite(value)}


@dataclass(frozen=True)
class Spread:
    """Statistics of one metric over cases.

    Attributes:
        count: Number of cases with a finite score.
        mean: Their mean.
        deviation: Their population standard deviation, as in ``umseg evaluate``.
        interval: 95 % confidence interval of the mean by Student's t; None with fewer than two cases.
        quartiles: Lower quartile, median and upper quartile.
    """

    count: int
    mean: float
    deviation: float
    interval: tuple[float, float] | None
    quartiles: tuple[float, float, float]

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """The statistics of finite numbers; all NaN where there is none."""
        found = np.array(sorted(values), dtype=np.float64)
        if not found.size:
            return cls(0, math.nan, math.nan, None, (math.nan,) * 3)
        interval = mean_interval(found) if found.size > 1 else None
        low, median, high = (float(value) for value in np.percentile(found, (25, 50, 75)))
        return cls(int(found.size), float(found.mean()), float(found.std()), interval, (low, median, high))


def badness(value: float, better: Better) -> float:
    """A number that is higher for worse scores; scores that do not exist come last."""
    if math.isnan(value):
        return -math.inf
    return {"higher": -value, "lower": value, "zero": abs(value)}[better]


def worst_first(sources: Sequence[Scores]) -> list[str]:
    """All cases, those with the worst main score in any source first, then by name."""
    worst: dict[str, float] = {}
    for scores in sources:
        for case in scores.cases:
            value = badness(case.mean[scores.main.key], scores.main.better)
            worst[case.case] = max(worst.get(case.case, -math.inf), value)
    return sorted(worst, key=lambda case: (-worst[case], case))


def pooled_scores(metrics: Sequence[Metrics | InstanceMetrics]) -> Scores | None:
    """The scores of all cases of several folds as one; None where the folds have different classes or metrics."""
    parts = [_of_objects(part) if isinstance(part, InstanceMetrics) else _of_classes(part) for part in metrics]
    first = parts[0]
    if any((part.classes, part.amount) != (first.classes, first.amount) for part in parts):
        return None
    columns = tuple(column for column in first.columns if all(column in part.columns for part in parts))
    cases = sorted((case for part in parts for case in part.cases), key=lambda case: case.case)
    if not columns or len({case.case for case in cases}) < len(cases):
        return None
    return Scores(columns, first.classes, tuple(cases), first.amount, tuple(dict.fromkeys(_all_notes(parts))))


def _all_notes(parts: Sequence[Scores]) -> Iterable[str]:
    for part in parts:
        yield from part.notes


def _of_classes(metrics: Metrics) -> Scores:
    columns = tuple(
        Column(key, f"{entry.title} ({entry.unit})" if entry.unit else entry.title, entry.better, entry.description)
        for key, entry in metrics.metrics.items()
    )
    # The score that a model is judged by comes first.
    columns = tuple(sorted(columns, key=lambda column: column.key != "dsc"))
    volumes = any(math.isfinite(entry.volume_ref_ml) for case in metrics.cases for entry in case.classes.values())
    notes = [*_missing(metrics.missing)]
    if metrics.tolerance:
        unit = "mm or px" if metrics.unit == "mixed" else metrics.unit
        same = len(set(metrics.tolerance.values())) == 1
        named = few((f"{value:g} {unit} ({name})" for name, value in metrics.tolerance.items()), most=20)
        shown = f"{next(iter(metrics.tolerance.values())):g} {unit}" if same else named
        notes.append(f"Tolerance of surfaces: {shown}.")
    if metrics.ignore_label is not None:
        notes.append(f"Voxels of the value {metrics.ignore_label} (ignore) in the reference are left out.")
    cases = tuple(_class_case(case, volumes) for case in metrics.cases)
    amount = "volume (ml)" if volumes else "size (voxels)"
    return Scores(columns, tuple(metrics.labels), cases, amount, tuple(notes))


def _class_case(case: CaseMetrics, volumes: bool) -> CaseScores:
    names = ("volume_ref_ml", "volume_pred_ml") if volumes else ("n_ref", "n_pred")
    amounts = [{name: float(getattr(entry, field)) for name, entry in case.classes.items()} for field in names]
    of_class = {name: dict(entry.scores) for name, entry in case.classes.items()}
    return CaseScores(case.case, of_class, dict(case.scores), amounts[0], amounts[1], case.notes)


def _of_objects(metrics: InstanceMetrics) -> Scores:
    columns = tuple(Column(key, title, "higher", meaning) for key, (title, meaning) in _OF_OBJECTS.items())
    notes = [
        *_missing(metrics.missing),
        f"An object is found if its overlap (IoU) with one of the reference is at least {metrics.threshold:g}.",
    ]
    if metrics.border:
        notes.append(f"Objects that reach into the outermost {metrics.border} voxels of the image are left out of F1.")
    cases = tuple(_object_case(case, metrics.object_name) for case in metrics.cases)
    return Scores(columns, (metrics.object_name,), cases, "objects", tuple(notes))


def _object_case(case: InstanceCase, name: str) -> CaseScores:
    found = case.objects
    scores = {key: float(getattr(found, field)) for key, field in _FIELDS.items()} | {"dsc": case.Dice}
    amounts = {name: float(found.TP + found.FN)}, {name: float(found.TP + found.FP)}
    return CaseScores(case.case, {name: scores}, scores, *amounts, case.notes)


def _missing(names: Sequence[str]) -> Iterable[str]:
    if names:
        yield f"Not scored, because there is no prediction: {few(names, most=20)}."


@dataclass(frozen=True)
class Predicted:
    """What ``umseg predict --statistics`` stated of a case.

    Attributes:
        confidence: Agreement of the networks, from 0 to 1; None where one network predicted.
        of_class: The same by class.
        volumes: Class to its volume in ml, or to its voxels.
        pieces: Class to its number of connected pieces.
        cut: Classes that touch the border of the image.
    """

    confidence: float | None = None
    of_class: Mapping[str, float] = field(default_factory=dict)
    volumes: Mapping[str, float] = field(default_factory=dict)
    pieces: Mapping[str, int] = field(default_factory=dict)
    cut: tuple[str, ...] = ()
