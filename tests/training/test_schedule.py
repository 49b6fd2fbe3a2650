from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umseg.training.schedule import ScheduleName, learning_rate_factor


@pytest.mark.parametrize(
    ("epoch", "rate"), [(0, 0.01), (1, 0.009991), (100, 0.00909533), (500, 0.00535887), (999, 1.995e-5)]
)
def test_rate_of_the_published_schedule(epoch: int, rate: float) -> None:
    assert 0.01 * learning_rate_factor("poly", epoch, 1000) == pytest.approx(rate, rel=2e-4)


@pytest.mark.parametrize("schedule", ["poly", "cosine"])
def test_falls_every_epoch_and_never_reaches_zero(schedule: ScheduleName) -> None:
    factors = [learning_rate_factor(schedule, epoch, 7) for epoch in range(7)]
    assert factors[0] == 1
    assert factors == sorted(factors, reverse=True)
    assert len(set(factors)) == 7
    assert factors[-1] > 0


def test_cosine_is_half_way_at_half_time() -> None:
    assert learning_rate_factor("cosine", 5, 10) == pytest.approx(0.5)
    assert learning_rate_factor("constant", 5, 10) == 1


@given(warmup=st.integers(1, 50), step=st.integers(0, 100))
def test_warmup_rises_in_equal_steps_to_the_schedule(warmup: int, step: int) -> None:
    factor = learning_rate_factor("constant", 0, 10, step, warmup)
    assert factor == pytest.approx(min(1.0, (step + 1) / warmup))
