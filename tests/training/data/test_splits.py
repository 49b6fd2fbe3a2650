from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umseg.common.errors import UserError
from umseg.training.data.splits import (
    Split,
    Splits,
    fold_cases,
    in_no_fold,
    make_splits,
    other_cases,
    read_splits,
    seen_in_training,
)

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
    assert caught.value.found == "1 case"
    assert "--fold all" in str(caught.value.remedy)


def test_all_trains_and_validates_on_everything_that_was_preprocessed() -> None:
    split = fold_cases(make_splits(ids(10)), "all", ids(12)[::-1], FILE)
    assert split.train == split.validation == tuple(ids(12))


@pytest.mark.parametrize("fold", [-1, 5, 7])
def test_a_fold_that_does_not_exist_is_refused(fold: int) -> None:
    with pytest.raises(UserError, match=f"no fold {fold}") as caught:
        fold_cases(make_splits(ids(10)), fold, ids(10), FILE)
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


def test_random_folds_are_written_as_ever_and_given_ones_are_marked(tmp_path: Path) -> None:
    assert set(json.loads(make_splits(ids(7)).to_json())) == {"schema_version", "folds"}
    file = tmp_path / "splits_final.json"
    file.write_text(json.dumps([{"train": ids(4), "val": ids(7)[4:]}]))
    given = read_splits(file, ids(7))
    assert given.given
    given.save(tmp_path / "splits.json")
    assert Splits.load(tmp_path / "splits.json", "Plan again.") == given


@given(st.lists(st.integers(0, 12), min_size=2, max_size=60))
def test_no_group_is_on_both_sides_and_folds_are_balanced(numbers_of_groups: list[int]) -> None:
    cases = ids(len(numbers_of_groups))
    groups = {case: f"g{number}" for case, number in zip(cases, numbers_of_groups, strict=True)}
    splits = make_splits(cases, groups)
    sizes = Counter(groups.values())
    assert len(splits.folds) == (min(5, len(sizes)) if len(sizes) > 1 else 0)
    for fold in splits.folds:
        assert not {groups[case] for case in fold.train} & {groups[case] for case in fold.validation}
        assert sorted(fold.train + fold.validation) == cases
    held = [len(fold.validation) for fold in splits.folds]
    if held:
        assert max(held) - min(held) <= max(sizes.values())
    assert make_splits(cases[::-1], groups) == splits


@given(st.integers(1, 40))
def test_groups_of_one_case_change_nothing(count: int) -> None:
    assert make_splits(ids(count), {case: case for case in ids(count)}) == make_splits(ids(count))


def test_cases_in_no_fold_are_counted() -> None:
    splits = make_splits(ids(10))
    assert in_no_fold(splits, ids(10), Path(FILE)) is None
    text = in_no_fold(splits, ids(12), Path(FILE))
    assert text is not None
    assert text.startswith("2 of 12 cases are in no fold of splits.json")
    assert text.endswith("case_10, case_11.")


def test_what_changed_since_a_training_is_told() -> None:
    before = Split(train=("a", "b"), validation=("c",))
    assert other_cases(before, before) is None
    now = Split(train=("b", "d"), validation=("a",))
    assert other_cases(before, now) == "training cases: 1 added (d), 1 taken out (a)"
    assert seen_in_training(before, now) == ("a",)
    assert other_cases(before, Split(train=("a", "b"), validation=("d",))) == "other validation cases: c, d"
