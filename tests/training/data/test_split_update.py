"""Cases come and go: those that have a place in the folds keep it."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umseg.dataset.groups import read_groups
from umseg.training.data.split_update import divided_groups, update_splits
from umseg.training.data.splits import Split, Splits, make_splits


def ids(count: int) -> list[str]:
    return [f"case_{number:02d}" for number in range(count)]


def place(splits: Splits) -> dict[str, int]:
    return {case: number for number, fold in enumerate(splits.folds) for case in fold.validation}


def test_nothing_changes_where_nothing_is_new() -> None:
    splits = make_splits(ids(13))
    assert update_splits(splits, ids(13)) == (splits, [])


@given(st.integers(2, 30), st.integers(1, 30), st.data())
def test_old_cases_stay_and_new_ones_fill_the_smallest_folds(before: int, more: int, data: st.DataObject) -> None:
    splits = make_splits(ids(before))
    gone = set(data.draw(st.lists(st.sampled_from(ids(before)), max_size=before - 1)))
    now = [case for case in ids(before + more) if case not in gone]
    updated, notices = update_splits(splits, data.draw(st.permutations(now)))
    where = place(updated)
    if len(updated.folds) > 1:
        assert sorted(where) == now
        for fold in updated.folds:
            assert sorted(fold.train + fold.validation) == now
    anew = any("anew" in text for text in notices)
    if not anew:
        assert {case: fold for case, fold in place(splits).items() if case not in gone}.items() <= where.items()
        held = [len(fold.validation) for fold in updated.folds]
        old_sizes = [len([case for case in fold.validation if case not in gone]) for fold in splits.folds]
        assert max(held) <= max(max(old_sizes, default=0), min(held) + 1)
        assert len(updated.folds) == min(5, max(len(splits.folds), len(now)))
    assert len(notices) >= bool(gone)


def test_ten_cases_join_five() -> None:
    updated, (notice,) = update_splits(make_splits(ids(5)), ids(15))
    assert [(len(fold.train), len(fold.validation)) for fold in updated.folds] == [(12, 3)] * 5
    assert notice.startswith("10 cases are new and enter the folds; the others stay in theirs: case_05, case_06")


def test_more_cases_make_more_folds_up_to_five() -> None:
    updated, _ = update_splits(make_splits(ids(3)), ids(10))
    assert [len(fold.validation) for fold in updated.folds] == [2] * 5
    assert update_splits(make_splits(ids(1)), ids(10))[0] == make_splits(ids(10))


def test_a_case_that_is_gone_is_taken_out_of_both_sides() -> None:
    splits = make_splits(ids(10))
    updated, (notice,) = update_splits(splits, ids(9))
    assert updated.cases == set(ids(9))
    assert [len(fold.train) + len(fold.validation) for fold in updated.folds] == [9] * 5
    assert notice == "1 case is no longer in the data set, taken out of the folds: case_09."


def test_a_fold_without_a_validation_case_is_named() -> None:
    splits = make_splits(ids(3))
    (alone,) = splits.folds[1].validation
    _, notices = update_splits(splits, [case for case in ids(3) if case != alone])
    assert notices[-1] == "Fold 1 has no validation case left and cannot be trained."


def test_new_cases_join_their_group() -> None:
    groups = {case: f"g{number // 2}" for number, case in enumerate(ids(20))}
    splits = make_splits(ids(11), groups)
    updated, _ = update_splits(splits, ids(20), groups)
    where = place(updated)
    assert where["case_11"] == where["case_10"] == place(splits)["case_10"]
    assert not divided_groups(updated, groups)
    sizes = sorted(len(fold.validation) for fold in updated.folds)
    assert sizes == [4] * 5


def test_groups_that_come_later_and_are_divided_make_new_folds() -> None:
    groups = {case: f"g{number // 5}" for number, case in enumerate(ids(20))}
    updated, (notice,) = update_splits(make_splits(ids(20)), ids(20), groups)
    assert "folds are made anew" in notice
    assert not divided_groups(updated, groups)


def test_folds_of_the_user_stay_except_for_cases_that_are_gone() -> None:
    given_folds = make_splits(ids(10)).model_copy(update={"given": True})
    updated, notices = update_splits(given_folds, ids(12))
    assert (updated, notices) == (given_folds, [])
    updated, (notice,) = update_splits(given_folds, ids(9))
    assert "case_09" in notice
    assert updated.given
    assert updated.cases == set(ids(9))


def test_edited_folds_are_not_extended() -> None:
    edited = Splits(folds=(Split(train=("case_00", "case_01"), validation=("case_02",)),))
    assert update_splits(edited, ids(6)) == (edited, [])


def test_folds_of_the_user_that_divide_a_group_are_named() -> None:
    edited = Splits(folds=(Split(train=("case_00", "case_01"), validation=("case_02",)),))
    updated, (notice,) = update_splits(edited, ids(3), {"case_00": "a", "case_01": "b", "case_02": "b"})
    assert updated == edited
    assert notice == "Groups with cases on both sides of a fold, whose scores are therefore too good: b."


@pytest.mark.parametrize("gone", [("case_02",), ("case_00", "case_01")])
def test_folds_of_which_none_can_be_trained_are_made_anew(gone: tuple[str, ...]) -> None:
    edited = Splits(folds=(Split(train=("case_00", "case_01"), validation=("case_02",)),), given=True)
    now = [case for case in ids(6) if case not in gone]
    updated, notices = update_splits(edited, now)
    assert updated == make_splits(now)
    assert "made anew" in notices[-1]


def test_no_field_of_view_of_real_nuclei_is_divided(shared: Path) -> None:
    manifest = shared / "data" / "Dataset703_DSB2018" / "manifest.csv"
    with manifest.open(newline="") as handle:
        cases = [row["id"] for row in csv.DictReader(handle) if row["split"] == "train"]
    fields = read_groups(manifest, cases)
    assert len(divided_groups(make_splits(cases), fields)) > 50
    splits = make_splits(cases, fields)
    assert divided_groups(splits, fields) == []
    assert sorted(len(fold.validation) for fold in splits.folds) == [93, 93, 93, 94, 94]
