"""From scores per case and class to their summary."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np

from umseg.evaluation.metrics import CaseMetrics, ClassScores, Metrics, Statistic, Summary


def summarise_case(
    case: str,
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    classes: Mapping[str, ClassScores],
) -> CaseMetrics:
    """Complete one case with its means over the classes that it has; arguments as in :class:`CaseMetrics`."""
    return CaseMetrics(
        case=case,
        shape=shape,
        spacing=spacing,
        Dice=_mean(scores.Dice for scores in classes.values()),
        NSD=_mean(scores.NSD for scores in classes.values()),
        classes=dict(classes),
    )


def summarise(
    cases: Sequence[CaseMetrics],
    labels: Mapping[str, int],
    tolerance: Mapping[str, float],
    unit: Literal["mm", "px"],
) -> Metrics:
    """Summarise the cases per class and over the foreground.

    Args:
        cases: At least one; each with every class of ``labels``.
        labels: Class name to label value, without the background.
        tolerance: Class name to the tolerance of the NSD.
        unit: Of the tolerances.
    """
    classes = {name: _summary([case.classes[name] for case in cases]) for name in labels}
    over_cases = _summary(cases)
    foreground = Summary(
        Dice=Statistic(mean=_mean(summary.Dice.mean for summary in classes.values()), std=over_cases.Dice.std),
        NSD=Statistic(mean=_mean(summary.NSD.mean for summary in classes.values()), std=over_cases.NSD.std),
        n_cases=over_cases.n_cases,
        n_not_evaluable=over_cases.n_not_evaluable,
    )
    return Metrics(
        labels=dict(labels),
        tolerance=dict(tolerance),
        unit=unit,
        cases=tuple(cases),
        classes=classes,
        foreground_mean=foreground,
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
