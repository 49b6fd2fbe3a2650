"""Volumetric similarity (Taha and Hanbury 2015): how nearly two volumes are equal, wherever they lie."""

from __future__ import annotations

import math

from umseg.evaluation.metrics.measurements import Measurements
from umseg.evaluation.metrics.metric import Metric


def volume_similarity(measured: Measurements) -> float:
    """1 - |P - R| / (P + R) for volumes P and R; NaN where both masks are empty."""
    prediction, reference = measured.counts.n_pred, measured.counts.n_ref
    total = prediction + reference
    return 1 - abs(prediction - reference) / total if total else math.nan


VOLUME_SIMILARITY = Metric(
    key="volume_similarity",
    title="VS",
    description="one minus the difference of the volumes over their sum; 1 is perfect.",
    unit="",
    better="higher",
    needs="counts",
    function=volume_similarity,
)
