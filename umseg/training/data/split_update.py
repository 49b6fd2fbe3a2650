"""Folds of a data set whose cases or groups have changed since the folds were made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from umseg.common.text import counted, few
from umseg.training.data.splits import Split, Splits, cross_validation, fill_folds, make_splits


def update_splits(
    earlier: Splits, case_ids: Sequence[str], groups: Mapping[str, str] | None = None
) -> tuple[Splits, list[str]]:
    """Bring folds up to date: cases that have a place keep it, new ones enter, those that are gone are taken out.

    New cases enter a cross-validation, in which every fold trains on all cases that it does not validate on. Folds
    that the user gave or edited to another form stay as they are, except for cases that are gone. Folds are made anew
    only where none of them is left to be trained, or where a group stands on both sides of one.

    Args:
        earlier: The folds so far.
        case_ids: The cases that there are now.
        groups: Group of each case.

    Returns:
        The folds, and a sentence about each kind of change.
    """
    groups = groups or {}
    present = set(case_ids)
    gone, new = earlier.cases - present, present - earlier.cases
    kept = earlier.model_copy(update={"folds": tuple(_without(gone, fold) for fold in earlier.folds)})
    notices = []
    if gone:
        notices.append(f"{_cases(len(gone))} no longer in the data set, taken out of the folds: {few(sorted(gone))}.")
    if not any(fold.train and fold.validation for fold in kept.folds):
        made = make_splits(case_ids, groups)
        if gone:
            notices.append("No fold is left that can be trained; the folds are made anew.")
        return made, notices
    divided = divided_groups(kept, groups)
    if earlier.given or not _is_cross_validation(earlier):
        if divided:
            notices.append(divided_notice(divided))
        return kept, notices
    if divided:
        notices.append(f"The folds are made anew, because groups were on both sides of one: {few(divided)}.")
        return make_splits(case_ids, groups), notices
    if new:
        notices.append(f"{_cases(len(new))} new and enter the folds; the others stay in theirs: {few(sorted(new))}.")
        kept = cross_validation(fill_folds([fold.validation for fold in kept.folds], new, groups))
    empty = [str(number) for number, fold in enumerate(kept.folds) if not fold.validation]
    if empty:
        notices.append(f"Fold {', '.join(empty)} has no validation case left and cannot be trained.")
    return kept, notices


def divided_groups(splits: Splits, groups: Mapping[str, str]) -> list[str]:
    """The groups that have cases on both sides of a fold, sorted."""
    both: set[str] = set()
    for fold in splits.folds:
        sides = [{groups[case] for case in side if case in groups} for side in (fold.train, fold.validation)]
        both |= sides[0] & sides[1]
    return sorted(both)


def divided_notice(groups: Sequence[str]) -> str:
    """A sentence about groups on both sides of folds that stay as they are."""
    return f"Groups with cases on both sides of a fold, whose scores are therefore too good: {few(groups)}."


def _is_cross_validation(splits: Splits) -> bool:
    """Whether every case is validated on once, and trained on in all other folds."""
    validated = [case for fold in splits.folds for case in fold.validation]
    return sorted(validated) == sorted(splits.cases) and all(
        sorted((*fold.train, *fold.validation)) == sorted(validated) for fold in splits.folds
    )


def _without(gone: set[str], fold: Split) -> Split:
    train, validation = (tuple(case for case in side if case not in gone) for side in (fold.train, fold.validation))
    return Split(train=train, validation=validation)


def _cases(count: int) -> str:
    return f"{counted(count, 'case')} {'is' if count == 1 else 'are'}"
