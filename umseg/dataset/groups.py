"""Groups of cases that belong together, such as those of one patient: a fold never has a group on both sides."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from umseg.common.errors import UserError
from umseg.common.text import few
from umseg.dataset.convert.manifest import (
    CASE_COLUMNS,
    GROUP_COLUMNS,
    SPLIT_COLUMNS,
    TRAINING,
    case_name,
    read_table,
)

GROUPS = "groups.csv"
"""The file beside ``dataset.json`` that is read by itself."""

_GROUPS = (*GROUP_COLUMNS, "patient", "patient_id", "subject", "subject_id")
_EXPECTED = (
    f"a column with the case ({', '.join(CASE_COLUMNS)}) and one with its group ({', '.join(_GROUPS)}); or "
    "columns such as id_a and id_b, with cases that belong together in every row"
)
_REMEDY = "Correct the table, and save it as CSV in UTF-8 with commas between the columns."


def read_groups(path: Path, case_ids: Collection[str]) -> dict[str, str]:
    """Read which training cases belong together.

    The table has a row per case with its group, or rows of cases that belong together (pairs, for example). In the
    first form a case with an empty group is alone, and rows whose column ``split`` does not say ``train`` are left
    out. In the second form cases that no row names are alone.

    Args:
        path: The table, CSV with a header.
        case_ids: The training cases.

    Returns:
        The group of every case.

    Raises:
        UserError: The table cannot be read or lacks columns; it names cases that the data set does not have, leaves
            cases out, or gives one two groups.
    """
    header, rows = read_table(path, "The table of groups")
    case, group = _column(header, CASE_COLUMNS), _column(header, _GROUPS)
    if case is not None and group is not None:
        return _listed(path, rows, case, group, _column(header, SPLIT_COLUMNS), case_ids)
    together = [name for name in header if _is_case_column(name)]
    if len(together) > 1:
        return _joined(path, rows, together, case_ids)
    raise UserError(
        "The table of groups lacks a column.",
        file=path,
        found=", ".join(header) or "an empty file",
        expected=_EXPECTED,
        remedy="Rename the columns. " + _REMEDY,
    )


def _listed(
    path: Path,
    rows: Sequence[Mapping[str, str]],
    case: str,
    group: str,
    split: str | None,
    case_ids: Collection[str],
) -> dict[str, str]:
    groups: dict[str, str] = {}
    lines: dict[str, int] = {}
    for line, row in enumerate(rows, start=2):
        name = _known(row[case], case_ids)
        if split is not None and row[split].strip().lower() not in TRAINING:
            continue
        lines.setdefault(name, line)
        if name in groups:
            raise _wrong(path, "names a case more than once", f"{name} in lines {lines[name]} and {line}")
        groups[name] = row[group].strip() or name
    _require_known(path, lines, case_ids)
    missing = sorted(set(case_ids) - set(groups))
    if missing:
        raise UserError(
            "The table of groups leaves cases out.",
            file=path,
            found=f"no row for {len(missing)} of {len(case_ids)} cases: {few(missing)}",
            expected="a row for every training case; its group may be empty if it belongs to none",
            remedy="Add the rows.",
        )
    return groups


def _joined(
    path: Path, rows: Sequence[Mapping[str, str]], columns: Sequence[str], case_ids: Collection[str]
) -> dict[str, str]:
    """Cases that rows link, directly or through others, are one group, which has the name of its first case."""
    lines: dict[str, int] = {}
    members = {case: {case} for case in case_ids}
    for line, row in enumerate(rows, start=2):
        names = [_known(row[column], case_ids) for column in columns if row[column].strip()]
        for name in names:
            lines.setdefault(name, line)
        linked: set[str] = set().union(*(members.get(name, set()) for name in names))
        members.update(dict.fromkeys(linked, linked))
    _require_known(path, lines, case_ids)
    return {case: min(members[case]) for case in case_ids}


def _column(header: Sequence[str], usual: Sequence[str]) -> str | None:
    """The header's name of a column, in the order of the usual names."""
    names = {name.strip().lower(): name for name in reversed(header)}
    return next((names[name] for name in usual if name in names), None)


def _is_case_column(name: str) -> bool:
    stem, _, suffix = re.sub(r"(\d+)$", r"_\1", name.strip().lower()).replace("__", "_").partition("_")
    return stem in CASE_COLUMNS and bool(suffix)


def _known(text: str, case_ids: Collection[str]) -> str:
    """The case that a cell names, by its id or by a file name."""
    name = text.strip()
    return name if name in case_ids else case_name(name)


def _require_known(path: Path, lines: Mapping[str, int], case_ids: Collection[str]) -> None:
    unknown = [f"{name or 'an empty cell'} (line {line})" for name, line in lines.items() if name not in case_ids]
    if unknown:
        raise _wrong(path, "names cases that are not training cases", few(unknown))


def _wrong(path: Path, what: str, found: str) -> UserError:
    return UserError(
        f"The table of groups {what}.",
        file=path,
        found=found,
        expected="the training cases of the data set, each in one row",
        remedy=_REMEDY,
    )
