"""Intervals cover what they promise; the simulations are seeded."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from umseg.evaluation.statistics.intervals import (
    Interval,
    Values,
    bootstrap_interval,
    bootstrap_means,
    mean_interval,
    median_interval,
)

Draw = Callable[[np.random.Generator, int], Values]


def coverage(interval: Callable[[Values], Interval], draw: Draw, truth: float, count: int, times: int) -> float:
    rng = np.random.default_rng(0)
    bounds = (interval(draw(rng, count)) for _ in range(times))
    return float(np.mean([low <= truth <= high for low, high in bounds]))


def normal(rng: np.random.Generator, count: int) -> Values:
    return rng.normal(size=count)


def skewed(rng: np.random.Generator, count: int) -> Values:
    """As Dice scores are: many near their best, some far below."""
    return rng.beta(8, 1.5, size=count)


@pytest.mark.parametrize("count", [3, 10, 40])
def test_the_t_interval_covers_the_mean_of_normal_scores(count: int) -> None:
    # The standard error of the coverage is 0.005.
    assert coverage(mean_interval, normal, 0, count, 2000) == pytest.approx(0.95, abs=0.015)


def test_both_intervals_cover_the_mean_of_skewed_scores() -> None:
    truth = 8 / 9.5
    assert coverage(mean_interval, skewed, truth, 50, 2000) == pytest.approx(0.95, abs=0.025)
    few_draws = lambda values: bootstrap_interval(values, draws=400)  # noqa: E731
    assert coverage(few_draws, skewed, truth, 50, 600) == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize("count", [6, 15, 50])
@pytest.mark.parametrize("draw", [normal, skewed])
def test_the_median_is_covered_as_often_as_the_binomial_says(draw: Draw, count: int) -> None:
    truth = 0.0 if draw is normal else float(stats.beta.median(8, 1.5))
    left_out = max(k for k in range(count) if 2 * stats.binom.cdf(k, count, 0.5) <= 0.05)
    exact = 1 - 2 * stats.binom.cdf(left_out, count, 0.5)
    assert exact >= 0.95
    assert coverage(median_interval, draw, truth, count, 3000) == pytest.approx(exact, abs=0.015)


def test_too_few_scores_have_no_interval() -> None:
    for interval in (mean_interval, bootstrap_interval, median_interval):
        assert all(map(math.isnan, interval(np.array([0.5]))))
    assert all(map(math.isnan, median_interval(np.arange(5.0))))
    assert median_interval(np.arange(6.0)) == (0, 5)


def test_the_interval_of_the_mean_is_that_of_scipy() -> None:
    values = skewed(np.random.default_rng(1), 30)
    expected = stats.t.interval(0.9, 29, values.mean(), stats.sem(values))
    assert mean_interval(values, 0.9) == pytest.approx(expected)


@given(st.integers(1, 5), st.integers(1, 30))
def test_means_of_draws_are_means_of_the_same_cases(rows: int, cases: int) -> None:
    values = np.random.default_rng(rows).normal(size=(rows, cases))
    both = bootstrap_means(np.concatenate([values, 2 * values + 1]), draws=20)
    np.testing.assert_allclose(both[rows:], 2 * both[:rows] + 1, atol=1e-12)
    assert (both[:rows] >= values.min(axis=1, keepdims=True) - 1e-12).all()
