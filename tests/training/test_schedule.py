from __future__ import annotations

import pytest

from umseg.training.schedule import polynomial


@pytest.mark.parametrize(
    ("epoch", "rate"), [(0, 0.01), (1, 0.009991), (100, 0.00909533), (500, 0.00535887), (999, 1.995e-5)]
)
def test_rate_of_the_published_schedule(epoch: int, rate: float) -> None:
    assert 0.01 * polynomial(epoch, 1000) == pytest.approx(rate, rel=2e-4)


def test_falls_every_epoch_and_never_reaches_zero() -> None:
    factors = [polynomial(epoch, 7) for epoch in range(7)]
    assert factors[0] == 1
    assert factors == sorted(factors, reverse=True)
    assert len(set(factors)) == 7
    assert factors[-1] > 0
