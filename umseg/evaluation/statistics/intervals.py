"""Confidence intervals of a mean and of a median (docs/rules.md, Statistics).

The median has an interval by order statistics only: the percentile bootstrap of a median covers badly for few cases,
because resampled medians take few different values.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

LEVEL = 0.95
DRAWS = 10_000
"""Draws of a bootstrap."""

Interval = tuple[float, float]
Values = NDArray[np.float64]

_NONE = (math.nan, math.nan)
_TOGETHER = 2**16
"""Numbers that are drawn at once: so few that they stay in the cache of a core."""


def mean_interval(values: Values, level: float = LEVEL) -> Interval:
    """The interval of the mean by Student's t.

    Args:
        values: Finite values, (cases,).
        level: Its coverage.

    Returns:
        Lower and upper bound; NaN for fewer than two values.
    """
    count = len(values)
    if count < 2:
        return _NONE
    reach = float(stats.t.ppf((1 + level) / 2, count - 1) * values.std(ddof=1) / math.sqrt(count))
    mean = float(values.mean())
    return mean - reach, mean + reach


def bootstrap_interval(values: Values, level: float = LEVEL, draws: int = DRAWS, seed: int = 0) -> Interval:
    """The interval of the mean by the percentile bootstrap; arguments as those of ``mean_interval``.

    Args:
        values: Finite values, (cases,).
        level: Its coverage.
        draws: Number of draws.
        seed: Seed of the draws.
    """
    if len(values) < 2:
        return _NONE
    means = bootstrap_means(values[None], draws, seed)[0]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_means(values: Values, draws: int = DRAWS, seed: int = 0) -> Values:
    """Means over cases that are drawn with replacement, the same cases for every row.

    Args:
        values: (rows, cases).
        draws: Number of draws.
        seed: Seed of the draws.

    Returns:
        (rows, draws).
    """
    rng, count = np.random.default_rng(seed), values.shape[1]
    means = np.empty((len(values), draws))
    step = max(1, _TOGETHER // count)
    for start in range(0, draws, step):
        stop = min(start + step, draws)
        cases = rng.integers(0, count, (stop - start, count))
        for row, result in zip(values, means, strict=True):
            result[start:stop] = row.take(cases).mean(axis=1)
    return means


def median_interval(values: Values, level: float = LEVEL) -> Interval:
    """The interval of the median between two order statistics, which covers it with at least this probability.

    Source: the number of values below the median is binomial, whatever the distribution.

    Args:
        values: Finite values, (cases,).
        level: Its coverage.

    Returns:
        Lower and upper bound; NaN where even the smallest and the largest value cover too seldom (fewer than six values
        for 95 %).
    """
    count = len(values)
    # The largest number of values that may be left out on each side.
    left_out = int(stats.binom.ppf((1 - level) / 2, count, 0.5)) if count else 0
    while left_out >= 0 and 2 * float(stats.binom.cdf(left_out, count, 0.5)) > 1 - level:
        left_out -= 1
    if left_out < 0:
        return _NONE
    ordered = np.sort(values)
    return float(ordered[left_out]), float(ordered[count - 1 - left_out])
