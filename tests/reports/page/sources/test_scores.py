"""Scores in one form for classes and objects, pooled over folds, with their statistics."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evaluation.factories import make_metrics
from umseg.evaluation import InstanceMetrics, load_metrics
from umseg.reports.page.sources.scores import Spread, pooled_scores, worst_first

NAN = math.nan


def test_folds_are_pooled_case_by_case() -> None:
    scores = pooled_scores([make_metrics({"b": [(0.5, 0.6)]}), make_metrics({"a": [(0.7, 0.8)]})])
    assert scores is not None
    assert [case.case for case in scores.cases] == ["a", "b"]
    assert scores.values("dsc", "1") == {"a": 0.7, "b": 0.5}
    assert scores.amount == "volume (ml)"


def test_metrics_that_a_fold_lacks_are_left_out() -> None:
    first = make_metrics({"a": [(0.5, 0.6)]})
    second = make_metrics({"b": [(2.0, 0.6)]}, keys=("hd95", "dsc"))
    scores = pooled_scores([first, second])
    assert scores is not None
    assert [column.key for column in scores.columns] == ["dsc"]


def test_folds_with_other_classes_or_the_same_case_are_not_pooled() -> None:
    one = make_metrics({"a": [(0.5, 0.6)]})
    assert pooled_scores([one, make_metrics({"b": [(0.5, 0.6), (0.1, 0.2)]})]) is None
    assert pooled_scores([one, one]) is None


def test_the_score_that_models_are_judged_by_comes_first() -> None:
    scores = pooled_scores([make_metrics({"a": [(1.5, 0.6)]}, keys=("hd95", "dsc"))])
    assert scores is not None
    assert [column.title for column in scores.columns] == ["DSC", "HD95 (mm)"]


def test_cases_without_a_class_count_in_no_statistic() -> None:
    scores = pooled_scores([make_metrics({"a": [(NAN, NAN)], "b": [(0.5, 0.6)]})])
    assert scores is not None
    assert scores.values("dsc", "1") == {"b": 0.5}
    assert worst_first([scores]) == ["b", "a"]


def test_the_worst_of_several_sources_decides_the_order() -> None:
    first = pooled_scores([make_metrics({"a": [(0.9, 1)], "b": [(0.8, 1)], "c": [(0.7, 1)]})])
    second = pooled_scores([make_metrics({"a": [(0.1, 1)], "b": [(0.8, 1)]})])
    assert first is not None
    assert second is not None
    assert worst_first([first, second]) == ["a", "c", "b"]


def test_scores_of_objects_have_their_numbers_as_sizes(golden: Path) -> None:
    metrics = load_metrics(golden / "workspace_0_1" / "expected" / "object_scores" / "metrics.json")
    assert isinstance(metrics, InstanceMetrics)
    scores = pooled_scores([metrics])
    assert scores is not None
    assert [column.key for column in scores.columns] == ["f1", "precision", "recall", "dsc"]
    assert scores.amount == "objects"
    case, first = scores.cases[0], metrics.cases[0]
    assert case.amount == {metrics.object_name: first.objects.TP + first.objects.FN}
    assert case.mean["f1"] == first.objects.F1


@given(st.lists(st.floats(0, 1), min_size=2, max_size=40))
def test_statistics_are_those_of_numpy(values: list[float]) -> None:
    spread = Spread.of(values)
    assert spread.mean == pytest.approx(np.mean(values))
    assert spread.deviation == pytest.approx(np.std(values))
    assert spread.quartiles == pytest.approx(tuple(np.percentile(values, (25, 50, 75))))
    assert spread.interval is not None
    assert spread.interval[0] - 1e-12 <= spread.mean <= spread.interval[1] + 1e-12


def test_one_case_has_no_interval_and_none_has_nothing() -> None:
    assert Spread.of([0.5]).interval is None
    assert math.isnan(Spread.of([]).mean)
