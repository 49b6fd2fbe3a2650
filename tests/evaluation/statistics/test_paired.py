from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from umseg.evaluation.statistics.paired import holm, permutation_test, standardised_effect, wilcoxon_test

differences = st.lists(st.floats(-1, 1), min_size=1, max_size=8).map(np.array)


@given(differences)
def test_all_signs_are_tried_for_few_cases(values: np.ndarray) -> None:
    sums = [abs(float(np.dot(signs, values))) for signs in itertools.product((1, -1), repeat=len(values))]
    expected = np.mean(np.array(sums) >= abs(values.sum()) - 1e-12 * np.abs(values).sum())
    assert permutation_test(values) == pytest.approx(expected)


@given(differences)
def test_the_order_of_methods_does_not_matter(values: np.ndarray) -> None:
    assert permutation_test(values) == permutation_test(-values)
    assert wilcoxon_test(values) == pytest.approx(wilcoxon_test(-values))
    assert standardised_effect(values) == pytest.approx(-standardised_effect(-values), nan_ok=True)


def test_drawn_signs_are_near_scipys() -> None:
    values = np.random.default_rng(0).normal(0.3, 1, 30)
    expected = stats.permutation_test(
        (values, np.zeros(30)), lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=20_000, rng=1
    ).pvalue
    assert permutation_test(values) == pytest.approx(expected, abs=0.01)
    assert permutation_test(np.full(30, 0.5)) == pytest.approx(1 / 20_001)


def test_false_alarms_are_as_rare_as_promised() -> None:
    rng = np.random.default_rng(0)
    found = [permutation_test(rng.normal(size=10)) <= 0.05 for _ in range(1000)]
    assert np.mean(found) == pytest.approx(0.05, abs=0.02)


def test_equal_methods_do_not_differ() -> None:
    same = np.zeros(20)
    assert permutation_test(same) == wilcoxon_test(same) == 1
    assert standardised_effect(same) == 0
    assert math.isinf(standardised_effect(np.full(3, 0.1)))
    assert math.isnan(permutation_test(np.empty(0)))


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, math.nan, 0.9])[0] == 1
    assert math.isnan(holm([0.5, math.nan])[1])
