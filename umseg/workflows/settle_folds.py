"""The folds of a workspace: made, kept, and brought up to date when cases come and go."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from pathlib import Path

from umseg.common.files import write_csv
from umseg.common.text import counted
from umseg.dataset.dataset import Dataset
from umseg.dataset.groups import GROUPS, read_groups
from umseg.training.data.split_update import divided_groups, divided_notice, update_splits
from umseg.training.data.splits import FOLDS, Splits, in_no_fold, make_splits
from umseg.training.saved.trained import retrained
from umseg.workspace import Workspace

log = logging.getLogger(__name__)


def find_groups(workspace: Workspace, dataset: Dataset, given: Path | None) -> dict[str, str]:
    """The group of every case: from the given table, that of an earlier plan, or ``groups.csv`` of the data set.

    Returns:
        Groups by case id; empty where there is no table.

    Raises:
        UserError: The table cannot be read, or does not fit the cases.
    """
    tables = (workspace.groups_file, dataset.folder / GROUPS) if given is None else (given,)
    table = next((path for path in tables if given is not None or path.exists()), None)
    return {} if table is None else read_groups(table, [case.id for case in dataset.cases])


def settle_folds(
    workspace: Workspace, case_ids: Collection[str], groups: Mapping[str, str], given: Splits | None
) -> Splits:
    """The folds that a workspace is to have, with warnings about what changes; nothing is written.

    Args:
        workspace: The data set's workspace.
        case_ids: The cases that there are now.
        groups: Group of each case.
        given: Folds that the user gave.

    Raises:
        UserError: The folds that the workspace has are damaged.
    """
    path = workspace.file(Splits)
    ids = sorted(case_ids)
    if given is not None:
        splits, notices = given, []
        if divided := divided_groups(given, groups):
            notices.append(divided_notice(divided))
    elif path.exists():
        splits, notices = update_splits(workspace.load(Splits), ids, groups)
        if not notices:
            log.info("Keeping the folds in %s.", path)
    else:
        splits, notices = make_splits(ids, groups), []
    for notice in notices:
        log.warning("%s: %s", path.name, notice)
    if groups and len(splits.folds) < FOLDS <= len(ids):
        count = len(set(groups.values()))
        log.warning(
            "There %s, so that there are %s: groups are never divided.",
            "is only 1 group" if count == 1 else f"are only {count} groups",
            counted(len(splits.folds), "fold") if splits.folds else "no folds, and only --fold all can be trained",
        )
    if missing := in_no_fold(splits, ids, path):
        log.warning("%s", missing)
    for sentence in retrained(workspace, splits, ids):
        log.warning("%s", sentence)
    return splits


def save_groups(workspace: Workspace, groups: Mapping[str, str]) -> None:
    """Keep the groups that were given, for the next plan of this workspace."""
    write_csv(workspace.groups_file, [("case", "group"), *sorted(groups.items())])
