"""The runs of a workspace: which were trained with other cases than their folds have, and which are running."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator

from umseg.common.errors import UserError
from umseg.common.processes.claims import Holder, holder
from umseg.training.data.splits import Split, Splits, other_cases, split_of
from umseg.workspace import FoldFolder, Workspace

_REMEDY = "Train this fold from the beginning with --restart."


def trained_folds(workspace: Workspace) -> Iterator[FoldFolder]:
    """The folds of all models that were begun."""
    for models in workspace.models():
        yield from (fold for fold in models.folds() if fold.trained)


def running(workspace: Workspace) -> Iterator[tuple[FoldFolder, Holder]]:
    """The folds that a process trains or validates at present, and that process."""
    for fold in (fold for models in workspace.models() for fold in models.folds()):
        found = holder(fold.path)
        if found is not None:
            yield fold, found


def retrained(workspace: Workspace, splits: Splits, case_ids: Collection[str]) -> Iterator[str]:
    """A sentence about every run whose fold has other cases now than when it was trained."""
    for fold in trained_folds(workspace):
        trained = recorded_split(fold)
        now = split_of(splits, fold.name, case_ids)
        if trained is None or (now is not None and not other_cases(trained, now)):
            continue
        difference = "there is no such fold any more" if now is None else other_cases(trained, now)
        yield (
            f"{fold.models.path.name}, fold {fold.name}, was trained with other cases than this fold has now "
            f"({difference})."
        )


def recorded_split(fold: FoldFolder) -> Split | None:
    """The cases that a run was trained with; None where an earlier version trained it, or the record is damaged."""
    with contextlib.suppress(UserError):
        return Split.load(fold.split_file, _REMEDY)
    return None
