"""Metrics made from given scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from umseg.dataset.io.grid import Unit
from umseg.evaluation.aggregate import summarise, summarise_case
from umseg.evaluation.classes import Classes
from umseg.evaluation.metrics.registry import choose_metrics
from umseg.evaluation.records import ClassScores, Metrics


def make_metrics(
    scores: Mapping[str, Sequence[tuple[float, ...]]],
    tolerance: Sequence[float] = (1.0, 1.0),
    unit: Unit = "mm",
    keys: Sequence[str] = ("dsc", "nsd"),
) -> Metrics:
    """Metrics of cases with the given scores for the classes "1", "2", ...; a class whose first is NaN is empty."""
    cases = [
        summarise_case(
            case,
            (4, 5, 6),
            (2.0, 1.0, 1.0),
            unit,
            {
                str(i): ClassScores(
                    scores=dict(zip(keys, values, strict=True)),
                    TP=0 if math.isnan(values[0]) else 3,
                    FP=0 if math.isnan(values[0]) else 2,
                    FN=0 if math.isnan(values[0]) else 1,
                    n_pred=0 if math.isnan(values[0]) else 5,
                    n_ref=0 if math.isnan(values[0]) else 4,
                    volume_pred_ml=0.01,
                    volume_ref_ml=math.nan if math.isnan(values[0]) else 0.008,
                )
                for i, values in enumerate(classes, start=1)
            },
        )
        for case, classes in scores.items()
    ]
    classes = Classes({str(i): (i,) for i in range(1, len(next(iter(scores.values()))) + 1)})
    return summarise(cases, classes, dict(zip(classes.values, tolerance, strict=False)), choose_metrics(keys))
