from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from umseg.evaluation.risk_coverage import risk_coverage, selective_risk

numbers = st.floats(0, 1, allow_subnormal=False)
cases = st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0]), numbers), min_size=1, max_size=12)


def test_a_small_example() -> None:
    np.testing.assert_allclose(selective_risk([0.9, 0.1, 0.5], [0.0, 1.0, 0.2]), [0, 0.1, 0.4])
    found = risk_coverage([0.9, 0.1, 0.5], [0.0, 1.0, 0.2])
    assert found.area == found.ideal == pytest.approx(0.5 / 3)
    assert found.random == pytest.approx(0.4)
    assert found.excess == 0


def test_the_opposite_order_is_worse_than_chance() -> None:
    assert risk_coverage([1, 2, 3], [0, 0.1, 0.9]).excess > 1


@given(cases)
def test_the_area_lies_between_the_ideal_and_its_mirror(pairs: list[tuple[float, float]]) -> None:
    confidence, error = zip(*pairs, strict=True)
    found = risk_coverage(confidence, error)
    worst = risk_coverage(error, error).area
    assert found.ideal - 1e-12 <= found.area <= worst + 1e-12
    assert found.ideal - 1e-12 <= found.random <= worst + 1e-12


@given(st.lists(numbers, min_size=1, max_size=20))
def test_a_confidence_that_says_nothing_is_the_random_order(error: list[float]) -> None:
    found = risk_coverage([0.5] * len(error), error)
    assert found.area == pytest.approx(found.random, abs=1e-12)


def test_the_random_order_is_the_mean_over_all_orders() -> None:
    error = [0.1, 0.5, 0.9, 0.2]
    areas = [risk_coverage(order, error).area for order in itertools.permutations(range(4))]
    assert np.mean(areas) == pytest.approx(risk_coverage(range(4), error).random)


@pytest.mark.parametrize(("confidence", "error"), [([], []), ([1.0], [1.0, 2.0]), ([np.nan], [0.0]), ([0.0], [np.inf])])
def test_numbers_that_mean_nothing_are_refused(confidence: list[float], error: list[float]) -> None:
    with pytest.raises(ValueError, match=r"confidence"):
        risk_coverage(confidence, error)
