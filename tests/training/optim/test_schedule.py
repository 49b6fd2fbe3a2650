from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umseg.common.errors import UserError
from umseg.training.optim.schedule import SCHEDULES, Moment, learning_rate_factor


def factor(epoch: int, step: int = 0, *, schedule: str = "poly", epochs: int = 1000, **options: Any) -> float:
    return learning_rate_factor(schedule, epoch, epochs, step, **options)


@pytest.mark.parametrize(
    ("epoch", "rate"), [(0, 0.01), (1, 0.009991), (100, 0.00909533), (500, 0.00535887), (999, 1.995e-5)]
)
def test_rate_of_the_published_schedule(epoch: int, rate: float) -> None:
    assert 0.01 * factor(epoch) == pytest.approx(rate, rel=2e-4)


@pytest.mark.parametrize("schedule", ["poly", "cosine"])
def test_falls_every_epoch_and_never_reaches_zero(schedule: str) -> None:
    factors = [factor(epoch, schedule=schedule, epochs=7) for epoch in range(7)]
    assert factors[0] == 1
    assert factors == sorted(factors, reverse=True)
    assert len(set(factors)) == 7
    assert factors[-1] > 0


def test_cosine_is_half_way_at_half_time() -> None:
    assert factor(5, schedule="cosine", epochs=10) == pytest.approx(0.5)
    assert factor(5, schedule="constant", epochs=10) == 1


def test_the_end_of_the_cosine_and_the_power_of_poly() -> None:
    rates = [8e-4 * factor(epoch, schedule="cosine", end=1e-6 / 8e-4) for epoch in (0, 500, 999)]
    assert rates == pytest.approx([8e-4, (8e-4 + 1e-6) / 2, 1.002e-6], rel=1e-3)
    assert factor(1, epochs=4, power=1.0) == 0.75


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_starts_at_one_and_is_described(name: str) -> None:
    spec = SCHEDULES[name]
    assert spec.name == name
    assert spec.description
    assert spec.factor(Moment(0.0, 0.9, 0.1)) == 1


def test_an_unknown_schedule_is_refused() -> None:
    with pytest.raises(UserError, match="Unknown schedule 'cosin'") as caught:
        factor(0, schedule="cosin")
    assert caught.value.remedy == "Did you mean 'cosine'?"


@given(warmup=st.integers(1, 50), step=st.integers(0, 100))
def test_warmup_rises_in_equal_steps_to_the_schedule(warmup: int, step: int) -> None:
    assert factor(0, step, schedule="constant", warmup=warmup) == pytest.approx(min(1.0, (step + 1) / warmup))
