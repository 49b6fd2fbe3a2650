"""``splits.json``: which cases are for training and which for validation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from umseg.common.errors import UserError
from umseg.common.json_file import read_json
from umseg.common.names import Component
from umseg.common.record import Record
from umseg.common.text import few

FOLDS = 5
SEED = 12345
MOST_FOLDS = 10_000


class Split(Record):
    """The case ids of one fold."""

    train: tuple[Component, ...]
    validation: tuple[Component, ...]


class Splits(Record):
    """The cross-validation of a data set."""

    schema_version: Literal[1] = 1
    folds: Annotated[tuple[Split, ...], Field(max_length=MOST_FOLDS)]


def make_splits(case_ids: Sequence[str]) -> Splits:
    """Five-fold cross-validation, the same folds that nnU-Net makes (docs/rules.md, Splits).

    The sorted ids are shuffled with a fixed seed and cut into consecutive chunks, the first ``n mod 5`` of which are
    larger by one. Fewer than five cases give as many folds as cases, a single case gives none.
    """
    ids = sorted(case_ids)
    count = min(FOLDS, len(ids))
    if count < 2:
        return Splits(folds=())
    order = np.arange(len(ids))
    np.random.RandomState(SEED).shuffle(order)
    folds = []
    for chunk in np.array_split(order, count):
        held_out = set(chunk.tolist())
        train = tuple(ids[i] for i in range(len(ids)) if i not in held_out)
        folds.append(Split(train=train, validation=tuple(ids[i] for i in sorted(held_out))))
    return Splits(folds=tuple(folds))


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
    splits = Splits.from_json(content, path, _FORMAT)
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
        fold: Index of a fold; ``all`` trains and validates on every case; an index past the last fold stands for a
            random 80:20 split drawn with seed 12345 + fold (docs/rules.md, Splits).
        case_ids: Ids of the preprocessed cases.
        file: File of the splits, for the error message.

    Raises:
        UserError: The fold is negative, lacks training or validation cases, or names a case that was not preprocessed.
    """
    ids = sorted(case_ids)
    if fold == "all":
        split = Split(train=tuple(ids), validation=tuple(ids))
    elif fold < 0:
        known = f"0 to {len(splits.folds) - 1}, or all" if splits.folds else "all"
        raise UserError(f"There is no fold {fold}.", file=file, expected=known)
    else:
        split = splits.folds[fold] if fold < len(splits.folds) else _random_split(ids, fold)
    unknown = sorted({*split.train, *split.validation} - set(ids))
    if unknown or not split.train or not split.validation:
        raise UserError(
            f"Fold {fold} cannot be trained.",
            file=file,
            found=f"cases that were not preprocessed: {few(unknown)}"
            if unknown
            else "no training cases, or no validation cases",
            expected="at least one training and one validation case, all preprocessed",
            remedy="Correct the file, run `umseg plan` again, or train with --fold all.",
        )
    return split


def _random_split(ids: Sequence[str], fold: int) -> Split:
    chosen = np.random.RandomState(SEED + fold).choice(len(ids), int(0.8 * len(ids)), replace=False)
    train = [ids[i] for i in chosen]
    return Split(train=tuple(train), validation=tuple(i for i in ids if i not in set(train)))
