"""How well a confidence tells good cases from bad ones: the risk–coverage curve and the area under it.

The cases are accepted in the order of their confidence. After each, the coverage is the fraction of cases that are
accepted and the risk is their mean error. The area under that curve (AURC) is the mean risk over all coverages; a
confidence that says nothing gives the mean error of all cases. Source: Geifman and El-Yaniv, NeurIPS 2017; Zenk et al.,
Medical Image Analysis 2025.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class RiskCoverage:
    """Areas under the risk–coverage curve; lower is better.

    Attributes:
        area: With the given confidence.
        random: Expected with a random order: the mean error.
        ideal: With the order of the errors themselves, below which no confidence can come.
    """

    area: float
    random: float
    ideal: float

    @property
    def excess(self) -> float:
        """The part of the random order's excess over the ideal one that remains: 0 ideal, 1 random, above 1 worse."""
        spread = self.random - self.ideal
        return (self.area - self.ideal) / spread if spread > 0 else 0.0


def selective_risk(confidence: Sequence[float], error: Sequence[float]) -> NDArray[np.float64]:
    """The mean error of the most confident case, of the two most confident ones, and so on.

    Cases of equal confidence come in no order: each of them counts with the mean error of all of them.

    Args:
        confidence: One number per case; higher means more confident.
        error: The error of each case, e.g. 1 - DSC.

    Returns:
        As many numbers as there are cases.

    Raises:
        ValueError: There is no case, the lengths differ, or a number is not finite.
    """
    scores, errors = np.asarray(confidence, dtype=np.float64), np.asarray(error, dtype=np.float64)
    if scores.shape != errors.shape or scores.ndim != 1 or not scores.size:
        raise ValueError(f"{scores.size} confidences and {errors.size} errors; as many of both, and at least one")
    if not (np.isfinite(scores).all() and np.isfinite(errors).all()):
        raise ValueError("a confidence or an error is not finite")
    _, group, sizes = np.unique(-scores, return_inverse=True, return_counts=True)
    means = np.bincount(group, weights=errors) / sizes
    ordered = np.sort(group)
    return np.cumsum(means[ordered]) / np.arange(1, errors.size + 1)


def risk_coverage(confidence: Sequence[float], error: Sequence[float]) -> RiskCoverage:
    """The areas under the risk–coverage curve; arguments and errors are those of ``selective_risk``."""
    errors = np.asarray(error, dtype=np.float64)
    return RiskCoverage(
        area=float(selective_risk(confidence, error).mean()),
        random=float(errors.mean()) if errors.size else 0.0,
        ideal=float(selective_risk((-errors).tolist(), error).mean()),
    )
