from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from umseg.evaluation.statistics.ranks import rank_stability
from umseg.evaluation.statistics.seeds import NestedDifference


def scores(rng: np.random.Generator, cases: np.ndarray, seeds: int, mean: float = 0.0) -> np.ndarray:
    """Scores of a method whose seeds differ by 0.5, on cases that both methods find hard or easy."""
    noise = rng.normal(0, 0.3, (seeds, len(cases)))
    result: np.ndarray = mean + cases + rng.normal(0, 0.5, (seeds, 1)) + noise
    return result


def test_with_one_seed_it_is_the_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(1, 25)), rng.normal(0.2, 1, size=(1, 25))
    expected = stats.ttest_rel(first[0], second[0])
    found = NestedDifference.of(first, second)
    assert found.p == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval(0.95)
    assert found.interval() == pytest.approx((interval.low, interval.high))


def test_seeds_count_as_a_source_of_chance() -> None:
    """Two trainings of the same method differ by luck: as many false alarms as promised, and more without seeds."""
    rng, nested, naive = np.random.default_rng(0), [], []
    for _ in range(600):
        cases = rng.normal(size=40)
        first, second = scores(rng, cases, 4), scores(rng, cases, 4)
        nested.append(NestedDifference.of(first, second).p <= 0.05)
        naive.append(stats.ttest_rel(first.mean(axis=0), second.mean(axis=0)).pvalue <= 0.05)
    assert np.mean(nested) <= 0.08
    assert np.mean(naive) > 0.5


def test_what_is_said_to_be_visible_is_seen_in_four_of_five_cases() -> None:
    rng = np.random.default_rng(0)
    error = NestedDifference.of(rng.normal(size=(1, 60)), np.zeros((1, 60)))
    # The same with the true standard deviation, 1.
    visible = error.smallest_visible() / error.error / math.sqrt(60)
    found = [stats.ttest_1samp(rng.normal(visible, 1, 60), 0).pvalue <= 0.05 for _ in range(1500)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.03)


def test_a_single_case_tells_nothing() -> None:
    found = NestedDifference.of(np.ones((1, 1)), np.zeros((1, 1)))
    assert found.mean == 1
    assert all(map(math.isnan, (found.error, found.p, *found.interval(), found.smallest_visible())))
    assert NestedDifference.of(np.ones((2, 3)), np.zeros((1, 3))).p == 0
    assert NestedDifference.of(np.ones((1, 3)), np.ones((1, 3))).p == 1


def test_ranks() -> None:
    rng = np.random.default_rng(0)
    values = np.stack([rng.normal(mean, 0.1, 30) for mean in (0.9, 0.5, 0.9)])
    first, second, third = rank_stability(values)
    assert (second.mean, second.low, second.high, second.first) == (3, 3, 3, 0)
    assert first.first + third.first == pytest.approx(1)
    assert first.low == 1
    equal = rank_stability(np.ones((2, 5)))
    assert [(one.mean, one.first) for one in equal] == [(1.5, 1), (1.5, 1)]
