from __future__ import annotations

import math

import pytest

from tests.evaluation.factories import make_metrics
from umseg.dataset.io.grid import Unit
from umseg.evaluation.records import Metrics

NAN = math.nan


def test_class_statistics_leave_out_what_is_not_evaluable() -> None:
    metrics = make_metrics(
        {"a": [(0.5, 0.4), (NAN, NAN)], "b": [(0.9, 0.8), (0.3, 0.1)], "c": [(0.7, 0.6), (NAN, NAN)]}
    )
    first, second = metrics.classes["1"], metrics.classes["2"]
    assert (first.n_cases, first.n_not_evaluable) == (3, 0)
    assert first.scores["dsc"].mean == pytest.approx(0.7)
    assert first.scores["dsc"].std == pytest.approx(math.sqrt((0.04 + 0.04) / 3))
    assert (second.n_cases, second.n_not_evaluable) == (1, 2)
    assert (second.scores["dsc"].mean, second.scores["dsc"].std, second.scores["nsd"].mean) == (0.3, 0, 0.1)


def test_the_foreground_mean_is_the_mean_of_the_class_means() -> None:
    metrics = make_metrics({"a": [(0.5, 0.4), (NAN, NAN)], "b": [(0.9, 0.8), (0.3, 0.1)]})
    # The mean of the cases' means would be (0.5 + 0.6) / 2.
    assert metrics.foreground_mean.scores["dsc"].mean == pytest.approx((0.7 + 0.3) / 2)
    assert metrics.foreground_mean.scores["nsd"].mean == pytest.approx((0.6 + 0.1) / 2)
    assert [case.scores["dsc"] for case in metrics.cases] == [0.5, pytest.approx(0.6)]
    assert metrics.foreground_mean.scores["dsc"].std == pytest.approx(0.05)


def test_nothing_evaluable_gives_nan_everywhere() -> None:
    metrics = make_metrics({"a": [(NAN, NAN)]})
    assert (metrics.classes["1"].n_cases, metrics.foreground_mean.n_not_evaluable) == (0, 1)
    for value in (
        metrics.cases[0].scores["dsc"],
        metrics.classes["1"].scores["nsd"].mean,
        metrics.foreground_mean.scores["dsc"].std,
    ):
        assert math.isnan(value)
    assert isinstance(metrics, Metrics)


def test_infinite_scores_enter_no_mean_but_are_counted() -> None:
    metrics = make_metrics(
        {"a": [(math.inf,), (4.0,)], "b": [(2.0,), (math.inf,)], "c": [(NAN,), (math.inf,)]}, keys=["hd95"]
    )
    first, second = (metrics.classes[name].scores["hd95"] for name in "12")
    assert (first.mean, first.n_finite, first.n_infinite) == (2.0, 1, 1)
    assert (second.mean, second.n_finite, second.n_infinite) == (4.0, 1, 2)
    assert (metrics.classes["1"].n_cases, metrics.classes["1"].n_not_evaluable) == (2, 1)
    assert [case.scores["hd95"] for case in metrics.cases] == [4.0, 2.0, math.inf]
    foreground = metrics.foreground_mean.scores["hd95"]
    assert (foreground.mean, foreground.std, foreground.n_finite, foreground.n_infinite) == (3.0, 1.0, 2, 3)


@pytest.mark.parametrize(("unit", "expected"), [("mm", ("mm", "ml")), ("px", ("px", "voxels"))])
def test_units_are_those_of_the_files(unit: Unit, expected: tuple[str, str]) -> None:
    metrics = make_metrics({"a": [(1.0, 2.0)]}, unit=unit, keys=["assd", "volume_difference"])
    assert tuple(record.unit for record in metrics.metrics.values()) == expected
    assert metrics.tolerance == {}, "no metric uses it"
