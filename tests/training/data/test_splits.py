from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umseg.common.errors import UserError
from umseg.training.data.splits import Split, Splits, fold_cases, make_splits, read_splits

FILE = Path("splits.json")


def ids(count: int) -> list[str]:
    return [f"case_{number:02d}" for number in range(count)]


def numbers(cases: tuple[str, ...]) -> list[int]:
    return [int(case.removeprefix("case_")) for case in cases]


@pytest.mark.parametrize(
    ("count", "held_out"),
    [
        (10, [[0, 7], [3, 9], [4, 6], [1, 8], [2, 5]]),
        (23, [[3, 8, 10, 17, 19], [0, 7, 12, 15, 16], [6, 11, 14, 18, 20], [9, 13, 21, 22], [1, 2, 4, 5]]),
    ],
)
def test_folds_of_the_published_split(count: int, held_out: list[list[int]]) -> None:
    assert [numbers(fold.validation) for fold in make_splits(ids(count)).folds] == held_out


def test_order_of_the_cases_does_not_matter() -> None:
    assert make_splits(ids(13)[::-1]) == make_splits(ids(13))


@given(st.integers(2, 60))
def test_every_case_is_validated_once_and_trains_in_all_other_folds(count: int) -> None:
    splits = make_splits(ids(count))
    assert len(splits.folds) == min(count, 5)
    assert sorted(case for fold in splits.folds for case in fold.validation) == ids(count)
    for fold in splits.folds:
        assert fold.train
        assert sorted(fold.train + fold.validation) == ids(count)


def test_one_case_cannot_be_split() -> None:
    splits = make_splits(ids(1))
    assert splits.folds == ()
    assert fold_cases(splits, "all", ids(1), FILE) == Split(train=("case_00",), validation=("case_00",))
    with pytest.raises(UserError, match="Fold 0 cannot be trained") as caught:
        fold_cases(splits, 0, ids(1), FILE)
    assert caught.value.found == "no training cases, or no validation cases"
    assert "--fold all" in str(caught.value.remedy)


def test_all_trains_and_validates_on_everything_that_was_preprocessed() -> None:
    split = fold_cases(make_splits(ids(10)), "all", ids(12)[::-1], FILE)
    assert split.train == split.validation == tuple(ids(12))


def test_a_fold_past_the_last_is_the_published_random_split() -> None:
    split = fold_cases(make_splits(ids(10)), 5, ids(10)[::-1], FILE)
    assert numbers(split.train) == [0, 8, 4, 5, 3, 9, 7, 6]
    assert numbers(split.validation) == [1, 2]
    assert fold_cases(make_splits(ids(10)), 6, ids(10), FILE) != split


def test_a_negative_fold_is_refused() -> None:
    with pytest.raises(UserError, match="no fold -1") as caught:
        fold_cases(make_splits(ids(10)), -1, ids(10), FILE)
    assert caught.value.expected == "0 to 4, or all"


def test_a_case_that_was_not_preprocessed_is_named() -> None:
    with pytest.raises(UserError) as caught:
        fold_cases(make_splits(ids(10)), 0, ids(9), FILE)
    assert "case_09" in str(caught.value.found)
    assert caught.value.file == "splits.json"
    assert "umseg plan" in str(caught.value.remedy)


def test_an_empty_side_is_refused() -> None:
    splits = Splits(folds=(Split(train=tuple(ids(3)), validation=()),))
    with pytest.raises(UserError, match="Fold 0 cannot be trained"):
        fold_cases(splits, 0, ids(3), FILE)


def test_round_trip(tmp_path: Path) -> None:
    splits = make_splits(ids(7))
    splits.save(tmp_path / "splits.json")
    assert Splits.load(tmp_path / "splits.json", "Plan again.") == splits


def test_splits_of_nnunet_are_read(tmp_path: Path) -> None:
    file = tmp_path / "splits_final.json"
    file.write_text(json.dumps([{"train": ids(4), "val": ids(7)[4:]}, {"train": ids(7)[4:], "val": ids(4)}]))
    splits = read_splits(file, ids(7))
    assert splits.folds[0] == Split(train=tuple(ids(4)), validation=tuple(ids(7)[4:]))
    splits.save(tmp_path / "splits.json")
    assert read_splits(tmp_path / "splits.json", ids(7)) == splits


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ([{"train": ["case_00"], "val": ["other"]}], "cases that the data set does not have: other"),
        ([{"train": ["case_00"], "val": ["case_00"]}], "cases for both training and validation: case_00"),
        ([{"train": ["case_00"], "val": []}], "no training cases, or no validation cases"),
        ([{"train": ["case_00"]}], None),
        ([["case_00"]], None),
        (7, None),
    ],
)
def test_wrong_splits_are_explained(tmp_path: Path, content: Any, found: str | None) -> None:
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(content))
    with pytest.raises(UserError) as caught:
        read_splits(file, ids(3))
    assert caught.value.file == str(file)
    assert found is None or caught.value.found == found
    assert '"val"' in str(caught.value.remedy)
