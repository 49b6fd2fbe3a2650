"""Summaries of scores over classes and over cases."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from umseg.dataset.io.grid import Unit
from umseg.evaluation.classes import Classes
from umseg.evaluation.metrics.instances import at_threshold, count_objects
from umseg.evaluation.metrics.metric import Metric
from umseg.evaluation.metrics.objects import ObjectScores
from umseg.evaluation.records import (
    CaseMetrics,
    ClassScores,
    InstanceCase,
    InstanceMetrics,
    MetricRecord,
    Metrics,
    ScoreStatistic,
    Statistic,
    Summary,
    ThresholdScores,
    ThresholdSummary,
)
from umseg.evaluation.statistics.describe import describe


def summarise_case(
    case: str,
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    unit: Unit,
    classes: Mapping[str, ClassScores],
    notes: tuple[str, ...] = (),
) -> CaseMetrics:
    """Complete one case with its means over classes; arguments as in :class:`CaseMetrics`."""
    keys = next(iter(classes.values())).scores
    means = {key: _mean(scores.scores[key] for scores in classes.values()) for key in keys}
    return CaseMetrics(
        case=case, shape=shape, spacing=spacing, unit=unit, scores=means, classes=dict(classes), notes=notes
    )


def summarise(
    cases: Sequence[CaseMetrics],
    scored: Classes,
    tolerance: Mapping[str, float],
    metrics: Sequence[Metric],
) -> Metrics:
    """Summarise the cases per class and over the foreground.

    Args:
        cases: At least one; each with every class and every metric.
        scored: The classes.
        tolerance: Class name to the tolerance of surface distances, in the unit of each case.
        metrics: The metrics that were computed.
    """
    keys = [metric.key for metric in metrics]
    classes = {name: _summary([case.classes[name] for case in cases], keys) for name in scored.values}
    units = {case.unit for case in cases}
    return Metrics(
        metrics={metric.key: _record(metric, cases) for metric in metrics},
        labels=scored.labels,
        ignore_label=scored.ignore_label,
        tolerance=dict(tolerance) if any(metric.uses_tolerance for metric in metrics) else {},
        unit=units.pop() if len(units) == 1 else "mixed",
        cases=tuple(cases),
        classes=classes,
        foreground_mean=_over_classes(list(classes.values()), _summary(cases, keys)),
        over_cases={key: describe(np.array([case.scores[key] for case in cases])) for key in keys},
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
            referenced=matched + sum(scores.FN for scores in objects),
        ),
        over_cases={
            "F1": describe(np.array([scores.F1 for scores in objects])),
            "precision": describe(np.array([scores.precision for scores in objects])),
            "recall": describe(np.array([scores.recall for scores in objects])),
            "DSC": describe(np.array([case.Dice for case in cases])),
        },
        thresholds=tuple(_at_threshold(scores) for scores in zip(*(case.thresholds for case in cases), strict=True)),
    )


def _at_threshold(cases: Sequence[ThresholdScores]) -> ThresholdSummary:
    """The summary of the cases' scores at one threshold."""
    found = sum(scores.TP for scores in cases)
    total_iou = math.fsum(scores.SQ * scores.TP for scores in cases if scores.TP)
    threshold, wrong, missed = cases[0].threshold, sum(case.FP for case in cases), sum(case.FN for case in cases)
    return ThresholdSummary(
        threshold=threshold,
        F1=_statistic(scores.F1 for scores in cases),
        AP=_statistic(scores.AP for scores in cases),
        PQ=_statistic(scores.PQ for scores in cases),
        total=at_threshold(ObjectScores(threshold, found, wrong, missed, total_iou)),
    )


def _record(metric: Metric, cases: Sequence[CaseMetrics]) -> MetricRecord:
    """The metric with the unit that its scores have in these cases."""
    units = {
        "mm": ((case.unit for case in cases), ("mm", "px")),
        "ml": (("ml" if case.unit == "mm" and case.shape[0] > 1 else "voxels" for case in cases), ("ml", "voxels")),
    }
    unit = metric.unit
    if unit in units:
        found, order = units[unit]
        unit = " or ".join(sorted(set(found), key=order.index))
    return MetricRecord(title=metric.title, description=metric.description, unit=unit, better=metric.better)


def _summary(entries: Sequence[ClassScores] | Sequence[CaseMetrics], keys: Sequence[str]) -> Summary:
    evaluable = sum(entry.is_evaluable for entry in entries)
    return Summary(
        scores={key: _score_statistic([entry.scores[key] for entry in entries]) for key in keys},
        n_cases=evaluable,
        n_not_evaluable=len(entries) - evaluable,
    )


def _over_classes(classes: Sequence[Summary], cases: Summary) -> Summary:
    """The mean of the class means, with the standard deviation over the cases' means."""
    scores = {}
    for key, over_cases in cases.scores.items():
        statistics = [summary.scores[key] for summary in classes]
        scores[key] = ScoreStatistic(
            mean=_mean(statistic.mean for statistic in statistics),
            std=over_cases.std,
            n_finite=sum(statistic.n_finite for statistic in statistics),
            n_infinite=sum(statistic.n_infinite for statistic in statistics),
        )
    return Summary(scores=scores, n_cases=cases.n_cases, n_not_evaluable=cases.n_not_evaluable)


def _score_statistic(values: Sequence[float]) -> ScoreStatistic:
    return ScoreStatistic(
        mean=_mean(values),
        std=_std(values),
        n_finite=sum(map(math.isfinite, values)),
        n_infinite=sum(map(math.isinf, values)),
    )


def _statistic(values: Iterable[float]) -> Statistic:
    scores = list(values)
    return Statistic(mean=_mean(scores), std=_std(scores))


def _mean(values: Iterable[float]) -> float:
    """The mean of the finite values; infinity if all values are infinite, NaN if there is none."""
    scores = [value for value in values if not math.isnan(value)]
    finite = [value for value in scores if math.isfinite(value)]
    if scores and not finite:
        return scores[0]
    return float(np.mean(finite)) if finite else math.nan


def _std(values: Iterable[float]) -> float:
    """The population standard deviation of the finite values; NaN if there is none."""
    finite = [value for value in values if math.isfinite(value)]
    return float(np.std(finite)) if finite else math.nan
