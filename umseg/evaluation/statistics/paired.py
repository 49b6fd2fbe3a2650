"""Tests of the differences of two methods on the same cases (docs/rules.md, Statistics)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from umseg.evaluation.statistics.intervals import Values

EXACT_CASES = 16
"""Up to so many cases all signs are tried."""
PERMUTATIONS = 20_000
ROUNDING = 1e-12
"""Part of a mean below which a deviation is that of rounding."""
_TOGETHER = 2**22


def permutation_test(differences: Values, seed: int = 0) -> float:
    """Two-sided p of the mean difference, if the signs of the differences were random.

    All combinations of signs are tried for up to 16 cases; otherwise 20,000 are drawn, and p = (1 + those that are as
    extreme) / (1 + all), which is never 0 (Phipson and Smyth, 2010).

    Args:
        differences: Finite differences, (cases,).
        seed: Seed of the draws.

    Returns:
        p; NaN without a case, 1 where all differences are 0.
    """
    count = len(differences)
    if not count:
        return math.nan
    observed = abs(float(differences.sum()))
    # Sums of the same numbers in another order differ by rounding.
    threshold = observed - 1e-12 * float(np.abs(differences).sum())
    if count <= EXACT_CASES:
        numbers = np.arange(2**count)[:, None]
        signs = 1 - 2 * ((numbers >> np.arange(count)) & 1)
        return float(np.mean(np.abs(signs @ differences) >= threshold))
    rng, extreme = np.random.default_rng(seed), 0
    step = max(1, _TOGETHER // count)
    for start in range(0, PERMUTATIONS, step):
        size = min(step, PERMUTATIONS - start)
        signs = 1 - 2 * rng.integers(0, 2, (size, count), dtype=np.int8)
        extreme += int(np.count_nonzero(np.abs(signs @ differences) >= threshold))
    return (1 + extreme) / (1 + PERMUTATIONS)


def wilcoxon_test(differences: Values) -> float:
    """Two-sided p of Wilcoxon's signed-rank test; differences of 0 are left out.

    Args:
        differences: Finite differences, (cases,).

    Returns:
        p; 1 where all differences are 0, NaN without a case.
    """
    if not len(differences):
        return math.nan
    nonzero = differences[differences != 0]
    return float(stats.wilcoxon(nonzero).pvalue) if len(nonzero) else 1.0


def holm(values: Sequence[float]) -> list[float]:
    """Values of p after Holm's correction for several tests, in the given order; NaN counts as no test."""
    order = sorted((value, place) for place, value in enumerate(values) if not math.isnan(value))
    corrected, largest = [math.nan] * len(values), 0.0
    for number, (value, place) in enumerate(order):
        largest = max(largest, min(1.0, value * (len(order) - number)))
        corrected[place] = largest
    return corrected


def standardised_effect(differences: Values) -> float:
    """Cohen's d of paired values: the mean difference over the standard deviation of the differences; NaN for one case.

    Where all differences are equal it is 0 or infinite.
    """
    if len(differences) < 2:
        return math.nan
    mean, deviation = float(differences.mean()), float(differences.std(ddof=1))
    if deviation <= ROUNDING * abs(mean):
        return 0.0 if mean == 0 else math.copysign(math.inf, mean)
    return mean / deviation
