from __future__ import annotations

import math
from pathlib import Path

import pytest

from umseg.workflows.best.candidates import Validated, comparable, failed_folds, mean_score
from umseg.workspace import ModelFolder

NAN = math.nan


def validated(name: str, cases: dict[str, float]) -> Validated:
    scores = {case: {"liver": score} for case, score in cases.items()}
    return Validated((ModelFolder(Path(name)),), ("0",), ("0",), scores)


def test_the_mean_is_taken_over_classes_of_means_over_cases_that_have_them() -> None:
    scores = {"a": {"liver": 0.9, "tumour": NAN}, "b": {"liver": 0.7, "tumour": 0.2}}
    assert mean_score(scores) == pytest.approx((0.8 + 0.2) / 2)
    assert math.isnan(mean_score({"a": {"liver": NAN}}))
    assert math.isnan(mean_score({}))


def test_only_models_with_the_same_cases_are_compared() -> None:
    first, second = validated("one", {"a": 0.5, "b": 0.6}), validated("two", {"a": 0.7, "b": 0.6})
    less = validated("less", {"a": 0.9})
    same, others = comparable([less, first, second])
    assert same == [first, second]
    assert list(others) == ["less"]
    assert "1 case" in others["less"]


@pytest.mark.parametrize(
    ("means", "failed"),
    [
        ({"0": 0.8, "1": 0.81, "2": 0.79}, []),
        ({"0": 0.8, "1": 0.1, "2": 0.79}, ["1"]),
        ({"0": 0.8, "1": NAN, "2": 0.79}, ["1"]),
        ({"0": 0.3}, []),
        ({}, []),
    ],
)
def test_folds_far_below_the_others_have_failed(means: dict[str, float], failed: list[str]) -> None:
    assert failed_folds(means) == failed
