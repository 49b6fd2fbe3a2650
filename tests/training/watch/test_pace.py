from __future__ import annotations

import time

import pytest

from umseg.training.config.training_config import TrainingConfig
from umseg.training.watch.pace import Pace


def statement(
    monkeypatch: pytest.MonkeyPatch, pace: Pace, seconds: float, synced_every: int = 1
) -> tuple[int, str | None]:
    """The iteration at which the time is stated, and the words; the first iteration is ten times as slow."""
    now = 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    for number in range(1, 200):
        now += seconds * (10 if number == 1 else 1)
        if (text := pace.iteration(number % synced_every == 0)) is not None:
            return number, text
    return 199, None


def test_the_time_is_that_of_the_iterations_after_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    pace = Pace(TrainingConfig(), "default", on_cpu=True)
    number, text = statement(monkeypatch, pace, 4.0)
    assert number == 4
    # 4 s x (250 000 training iterations + a third of 50 000 validation batches).
    assert text == (
        "Expected time: about 12 days for 1,000 epochs of 250 iterations, at 4 s per iteration. Faster: --recipe quick "
        "trains a tenth of the iterations; umseg plan --preset cpu plans a network and patches for a CPU."
    )
    assert pace.iteration(True) is None, "it is said once"


def test_a_gpu_is_measured_where_it_is_waited_for_anyway(monkeypatch: pytest.MonkeyPatch) -> None:
    pace = Pace(TrainingConfig(epochs=100), "default", on_cpu=False)
    number, text = statement(monkeypatch, pace, 0.4, synced_every=10)
    assert number == 30
    assert text == "Expected time: about 3.0 h for 100 epochs of 250 iterations, at 0.4 s per iteration."


def test_what_is_already_trained_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    config = TrainingConfig(epochs=10, iterations=100)
    _, whole = statement(monkeypatch, Pace(config, "cpu", on_cpu=True), 1.0)
    _, rest = statement(monkeypatch, Pace(config, "cpu", on_cpu=True, done=(500, 100)), 1.0)
    assert whole is not None
    assert rest is not None
    assert "about 18 min" in whole
    assert "about 9 min" in rest


def test_a_short_training_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert statement(monkeypatch, Pace(TrainingConfig(epochs=1), "cpu", on_cpu=True), 0.1)[1] is None
