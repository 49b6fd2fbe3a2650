from __future__ import annotations

import math

import pytest

from tests.evaluation.factories import make_metrics
from umseg.evaluation.records import Metrics

NAN = math.nan


def test_class_statistics_leave_out_what_is_not_evaluable():
    metrics = make_metrics(
        {"a": [(0.5, 0.4), (NAN, NAN)], "b": [(0.9, 0.8), (0.3, 0.1)], "c": [(0.7, 0.6), (NAN, NAN)]}
    )
    first, second = metrics.classes["1"], metrics.classes["2"]
    assert (first.n_cases, first.n_not_evaluable) == (3, 0)
    assert first.scores["dsc"].mean == pytest.approx(0.7)
    assert first.scores["dsc"].std == pytest.approx(math.sqrt((0.04 + 0.04) / 3))
    assert (second.n_cases, second.n_not_evaluable) == (1, 2)
    assert (second.scores["dsc"].mean, second.scores["dsc"].std, second.scores["nsd"].mean) == (0.3, 0, 0.1)


def test_the_foreground_mean_is_the_mean_of_the_class_means():
    metrics = make_metrics({"a": [(0.5, 0.4), (NAN, NAN)], "b": [(0.9, 0.8), (0.3, 0.1)]})
    # The mean of the cases' means would be (0.5 + 0.6) / 2.
    assert metrics.foreground_mean.scores["dsc"].mean == pytest.approx((0.7 + 0.3) / 2)
    assert metrics.foreground_mean.scores["nsd"].mean == pytest.approx((0.6 + 0.1) / 2)
    assert [case.scores["dsc"] for case in metrics.cases] == [0.5, pytest.approx(0.6)]
    assert metrics.foreground_mean.scores["dsc"].std == pytest.approx(0.05)


def test_nothing_evaluable_gives_nan_everywhere():
    metrics = make_metrics({"a": [(NAN, NAN)]})
    assert (metrics.classes["1"].n_cases, metrics.foreground_mean.n_not_evaluable) == (0, 1)
    for value in (
        metrics.cases[0].scores["dsc"],
        metrics.classes["1"].scores["nsd"].mean,
        metrics.foreground_mean.scores["dsc"].std,
    ):
        assert math.isnan(value)
    assert isinstance(metrics, Metrics)
