"""``splits.json``: which cases are for training and which for validation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from umseg.common.errors import UserError
from umseg.common.json_file import read_json
from umseg.common.names import Component
from umseg.common.record import Record, SparseRecord
from umseg.common.text import counted, few

FOLDS = 5
SEED = 12345
MOST_FOLDS = 10_000


class Split(Record):
    """The case ids of one fold."""

    train: tuple[Component, ...]
    validation: tuple[Component, ...]


class Splits(SparseRecord):
    """The cross-validation of a data set.

    Attributes:
        folds: The cases of every fold.
        given: Whether the user gave the folds as a file: umseg then adds no case to them.
    """

    sparse = ("given",)

    schema_version: Literal[1] = 1
    folds: Annotated[tuple[Split, ...], Field(max_length=MOST_FOLDS)]
    given: bool = False

    @property
    def cases(self) -> set[str]:
        """All cases that a fold trains or validates on."""
        return {case for fold in self.folds for case in (*fold.train, *fold.validation)}


def make_splits(case_ids: Sequence[str], groups: Mapping[str, str] | None = None) -> Splits:
    """Five-fold cross-validation, the same folds that nnU-Net makes (docs/rules.md, Splits).

    The sorted ids are shuffled with a fixed seed and cut into consecutive chunks, the first ``n mod 5`` of which are
    larger by one. Fewer than five cases give as many folds as cases, a single case gives none.

    Args:
        case_ids: The cases.
        groups: Group of each case, such as the patient. The cases of a group are validated together; the folds are
            balanced in cases. Where no group has two cases, the folds are those without groups.
    """
    ids = sorted(case_ids)
    groups = groups or {}
    if len({groups.get(case, case) for case in ids}) < len(ids):
        return cross_validation(fill_folds([], ids, groups))
    count = min(FOLDS, len(ids))
    if count < 2:
        return Splits(folds=())
    order = np.arange(len(ids))
    np.random.RandomState(SEED).shuffle(order)
    return cross_validation([[ids[i] for i in chunk] for chunk in np.array_split(order, count)])


def cross_validation(held_out: Sequence[Iterable[str]]) -> Splits:
    """Folds that each validate on some cases and train on all others; fewer than two make no fold."""
    if len(held_out) < 2:
        return Splits(folds=())
    ids = sorted(case for fold in held_out for case in fold)
    folds = []
    for fold in held_out:
        validation = set(fold)
        train = tuple(case for case in ids if case not in validation)
        folds.append(Split(train=train, validation=tuple(sorted(validation))))
    return Splits(folds=tuple(folds))


def fill_folds(held_out: Sequence[Sequence[str]], new: Iterable[str], groups: Mapping[str, str]) -> list[list[str]]:
    """Give new cases a fold that validates on them; the cases that have one stay where they are.

    Cases join their group. The other groups, the largest first and in an order drawn with a fixed seed, go to the fold
    with the fewest cases each. There are five folds in the end, or fewer where there are fewer groups.

    Args:
        held_out: The cases that each fold validates on.
        new: The cases to add.
        groups: Group of each case; a case that is not in it is a group by itself.
    """
    folds = [list(fold) for fold in held_out]
    place = {groups.get(case, case): fold for fold in folds for case in fold}
    units: dict[str, list[str]] = {}
    for case in sorted(new):
        units.setdefault(groups.get(case, case), []).append(case)
    folds += [[] for _ in range(min(FOLDS, len(place.keys() | units.keys())) - len(folds))]
    names = sorted(units)
    np.random.RandomState(SEED).shuffle(names)
    for name in sorted(names, key=lambda name: -len(units[name])):
        place.get(name, min(folds, key=len)).extend(units[name])
    return folds


def read_splits(path: Path, case_ids: Sequence[str]) -> Splits:
    """Read folds from umseg's file, or from nnU-Net's ``splits_final.json``.

    The latter is a list of ``{"train": [...], "val": [...]}``.

    Raises:
        UserError: The file is damaged, names cases that do not exist, or has a case on both sides of a fold.
    """
    content = read_json(path, _FORMAT)
    if isinstance(content, list):
        names = {"val": "validation"}
        folds = [{names.get(key, key): ids for key, ids in fold.items()} for fold in content if isinstance(fold, dict)]
        content = {"folds": folds if len(folds) == len(content) else content}
    splits = Splits.from_json(content, path, _FORMAT).model_copy(update={"given": True})
    for number, fold in enumerate(splits.folds):
        unknown = sorted({*fold.train, *fold.validation} - set(case_ids))
        both = sorted(set(fold.train) & set(fold.validation))
        if unknown or both or not fold.train or not fold.validation:
            raise UserError(
                f"Fold {number} of the splits cannot be used.",
                file=path,
                found=f"cases that the data set does not have: {few(unknown)}"
                if unknown
                else f"cases for both training and validation: {few(both)}"
                if both
                else "no training cases, or no validation cases",
                expected="case ids of the data set, each for either training or validation",
                remedy=_FORMAT,
            )
    return splits


_FORMAT = 'Give a list of folds: [{"train": ["case_1", ...], "val": ["case_2", ...]}, ...].'


def fold_cases(splits: Splits, fold: int | Literal["all"], case_ids: Sequence[str], file: Path) -> Split:
    """The cases of a fold.

    Args:
        splits: The cross-validation.
        fold: Number of a fold; ``all`` trains and validates on every case.
        case_ids: Ids of the preprocessed cases.
        file: File of the splits, for the error message.

    Raises:
        UserError: There is no such fold, it lacks training or validation cases, or it names a case that was not
            preprocessed.
    """
    ids = sorted(case_ids)
    if fold == "all":
        split = Split(train=tuple(ids), validation=tuple(ids))
    elif not splits.folds:
        raise UserError(
            f"Fold {fold} cannot be trained: there is no cross-validation of so few cases or groups.",
            file=file,
            found=counted(len(ids), "case"),
            expected="at least 2 cases, of different groups if there are groups",
            remedy="Train with --fold all, which uses every case; or add cases and run `umseg plan` again.",
        )
    elif not 0 <= fold < len(splits.folds):
        last = len(splits.folds) - 1
        raise UserError(
            f"There is no fold {fold}.",
            file=file,
            expected=f"0 to {last}, or all",
            remedy="Choose one of these with --fold, or plan with folds of your own: --splits FILE.",
        )
    else:
        split = splits.folds[fold]
    unknown = sorted({*split.train, *split.validation} - set(ids))
    if unknown or not split.train or not split.validation:
        raise UserError(
            f"Fold {fold} cannot be trained.",
            file=file,
            found=f"cases that were not preprocessed: {few(unknown)}"
            if unknown
            else "no training cases"
            if not split.train
            else "no validation cases",
            expected="at least one training and one validation case, all preprocessed",
            remedy="Correct the file, run `umseg plan` again, or train with --fold all.",
        )
    return split


def split_of(splits: Splits, fold: str, case_ids: Iterable[str]) -> Split | None:
    """The cases of a fold by its name, ``all`` included; None if there is no such fold."""
    if fold == "all":
        ids = tuple(sorted(case_ids))
        return Split(train=ids, validation=ids)
    number = int(fold) if fold.isdecimal() else len(splits.folds)
    return splits.folds[number] if number < len(splits.folds) else None


def in_no_fold(splits: Splits, case_ids: Iterable[str], file: Path) -> str | None:
    """A sentence about the cases that no fold uses, or None if there are none."""
    missing = sorted({*case_ids} - splits.cases)
    if not missing or not splits.folds:
        return None
    total = counted(len(missing) + len(splits.cases), "case")
    return (
        f"{len(missing):,} of {total} are in no fold of {file}, so that they are neither trained nor validated on: "
        f"{few(missing)}."
    )


def seen_in_training(trained: Split, now: Split) -> tuple[str, ...]:
    """The validation cases of a split that were training cases when the weights were trained."""
    return tuple(sorted(set(trained.train) & set(now.validation)))


def other_cases(trained: Split, now: Split) -> str | None:
    """In what the cases of a fold differ from those that it was trained with, in words; None if they are the same."""
    before, after = set(trained.train), set(now.train)
    parts = [
        f"{len(names)} {verb} ({few(sorted(names))})"
        for names, verb in ((after - before, "added"), (before - after, "taken out"))
        if names
    ]
    held = set(trained.validation) ^ set(now.validation)
    if not parts and held:
        return f"other validation cases: {few(sorted(held))}"
    return f"training cases: {', '.join(parts)}" if parts else None
