"""Metrics made from given scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from umseg.evaluation.aggregate import summarise, summarise_case
from umseg.evaluation.classes import Classes
from umseg.evaluation.records import ClassScores, Metrics


def make_metrics(
    scores: Mapping[str, Sequence[tuple[float, float]]], tolerance: Sequence[float] = (1.0, 1.0), unit: str = "mm"
) -> Metrics:
    """Metrics of cases with the given (Dice, NSD) for the classes "1", "2", ..."""
    cases = [
        summarise_case(
            case,
            (4, 5, 6),
            (2.0, 1.0, 1.0),
            unit,
            {
                str(i): ClassScores(
                    Dice=dice,
                    NSD=nsd,
                    TP=3,
                    FP=2,
                    FN=1,
                    n_pred=5,
                    n_ref=4,
                    volume_pred_ml=0.01,
                    volume_ref_ml=math.nan if math.isnan(dice) else 0.008,
                )
                for i, (dice, nsd) in enumerate(classes, start=1)
            },
        )
        for case, classes in scores.items()
    ]
    classes = Classes({str(i): (i,) for i in range(1, len(next(iter(scores.values()))) + 1)})
    return summarise(cases, classes, dict(zip(classes.values, tolerance, strict=False)))
