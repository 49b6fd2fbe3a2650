"""Two methods on the same cases, each trained with one or several seeds (docs/rules.md, Statistics).

Cases are paired; seeds are nested in methods. The variance of the mean difference has a part of the cases, whose
differences vary about their mean, and a part of each method's seeds, whose means over the cases vary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from umseg.evaluation.statistics.intervals import LEVEL, Interval, Values
from umseg.evaluation.statistics.paired import ROUNDING

POWER = 0.8


@dataclass(frozen=True)
class NestedDifference:
    """The mean difference of two methods, and how well it is known.

    Attributes:
        mean: Mean over cases and seeds of the first method minus that of the second.
        error: Its standard error; NaN for a single case.
        freedom: Degrees of freedom of the error (Satterthwaite).
    """

    mean: float
    error: float
    freedom: float

    @classmethod
    def of(cls, first: Values, second: Values) -> NestedDifference:
        """The difference of two methods.

        Args:
            first: (seeds, cases), finite.
            second: (seeds, cases), the same cases; the number of seeds may differ.
        """
        differences = first.mean(axis=0) - second.mean(axis=0)
        count = len(differences)
        mean = float(differences.mean()) if count else math.nan
        if count < 2:
            return cls(mean, math.nan, math.nan)
        parts = [(float(differences.var(ddof=1)) / count, count - 1)]
        parts += [(_variance(scores), len(scores) - 1) for scores in (first, second) if len(scores) > 1]
        variance = sum(part for part, _ in parts)
        if math.sqrt(variance) <= ROUNDING * abs(mean):
            return cls(mean, 0.0, count - 1)
        return cls(mean, math.sqrt(variance), variance**2 / sum(part**2 / freedom for part, freedom in parts))

    @property
    def p(self) -> float:
        """Two-sided p by Student's t."""
        if math.isnan(self.error):
            return math.nan
        if self.error == 0:
            return 1.0 if self.mean == 0 else 0.0
        return float(2 * stats.t.sf(abs(self.mean) / self.error, self.freedom))

    def interval(self, level: float = LEVEL) -> Interval:
        """The confidence interval of the mean."""
        if math.isnan(self.error):
            return math.nan, math.nan
        reach = float(stats.t.ppf((1 + level) / 2, self.freedom)) * self.error
        return self.mean - reach, self.mean + reach

    def smallest_visible(self, level: float = LEVEL, power: float = POWER) -> float:
        """The smallest difference that a two-sided test at 1 - level finds with this probability.

        It is (t of the level + t of the power) times the standard error (Cohen, 1988).
        """
        if math.isnan(self.error):
            return math.nan
        quantiles = stats.t.ppf([(1 + level) / 2, power], self.freedom)
        return float(np.sum(quantiles)) * self.error


def _variance(scores: Values) -> float:
    """The variance of the mean over seeds, of (seeds, cases)."""
    return float(scores.mean(axis=1).var(ddof=1)) / len(scores)
