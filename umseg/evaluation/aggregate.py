"""From scores per case and class to their summary."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from umseg.dataset.io.grid import Unit
from umseg.evaluation.classes import Classes
from umseg.evaluation.metrics.instances import count_objects
from umseg.evaluation.records import (
    CaseMetrics,
    ClassScores,
    InstanceCase,
    InstanceMetrics,
    Metrics,
    Statistic,
    Summary,
)


def summarise_case(
    case: str,
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    unit: Unit,
    classes: Mapping[str, ClassScores],
) -> CaseMetrics:
    """Complete one case with its means over the classes that it has; arguments as in :class:`CaseMetrics`."""
    return CaseMetrics(
        case=case,
        shape=shape,
        spacing=spacing,
        unit=unit,
        Dice=_mean(scores.Dice for scores in classes.values()),
        NSD=_mean(scores.NSD for scores in classes.values()),
        classes=dict(classes),
    )


def summarise(cases: Sequence[CaseMetrics], scored: Classes, tolerance: Mapping[str, float]) -> Metrics:
    """Summarise the cases per class and over the foreground.

    Args:
        cases: At least one; each with every class.
        scored: The classes.
        tolerance: Class name to the tolerance of the NSD, in the unit of each case.
    """
    classes = {name: _summary([case.classes[name] for case in cases]) for name in scored.values}
    over_cases = _summary(cases)
    foreground = Summary(
        Dice=Statistic(mean=_mean(summary.Dice.mean for summary in classes.values()), std=over_cases.Dice.std),
        NSD=Statistic(mean=_mean(summary.NSD.mean for summary in classes.values()), std=over_cases.NSD.std),
        n_cases=over_cases.n_cases,
        n_not_evaluable=over_cases.n_not_evaluable,
    )
    units = {case.unit for case in cases}
    return Metrics(
        labels=scored.labels,
        ignore_label=scored.ignore_label,
        tolerance=dict(tolerance),
        unit=units.pop() if len(units) == 1 else "mixed",
        cases=tuple(cases),
        classes=classes,
        foreground_mean=foreground,
    )


def summarise_instances(
    cases: Sequence[InstanceCase], object_name: str, threshold: float, border: int
) -> InstanceMetrics:
    """Summarise the cases of an instance task over cases and over all objects; arguments as in InstanceMetrics."""
    objects = [case.objects for case in cases]
    evaluable = sum(not math.isnan(scores.F1) for scores in objects)
    matched = sum(scores.TP for scores in objects)
    return InstanceMetrics(
        object_name=object_name,
        threshold=threshold,
        border=border,
        cases=tuple(cases),
        F1=_statistic(scores.F1 for scores in objects),
        precision=_statistic(scores.precision for scores in objects),
        recall=_statistic(scores.recall for scores in objects),
        Dice=_statistic(case.Dice for case in cases),
        n_cases=evaluable,
        n_not_evaluable=len(cases) - evaluable,
        total=count_objects(
            matched,
            predicted=matched + sum(scores.FP for scores in objects),
            wanted=matched + sum(scores.FN for scores in objects),
        ),
    )


def _summary(scores: Sequence[ClassScores] | Sequence[CaseMetrics]) -> Summary:
    evaluable = sum(not math.isnan(entry.Dice) for entry in scores)
    return Summary(
        Dice=_statistic([entry.Dice for entry in scores]),
        NSD=_statistic([entry.NSD for entry in scores]),
        n_cases=evaluable,
        n_not_evaluable=len(scores) - evaluable,
    )


def _statistic(values: Iterable[float]) -> Statistic:
    known = _known(values)
    return Statistic(mean=_mean(known), std=float(np.std(known)) if known else math.nan)


def _mean(values: Iterable[float]) -> float:
    known = _known(values)
    return float(np.mean(known)) if known else math.nan


def _known(values: Iterable[float]) -> list[float]:
    return [value for value in values if not math.isnan(value)]
