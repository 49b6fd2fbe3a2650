"""The manifest: a table of the cases that are for training and of those that belong together."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from umseg.common.errors import UserError
from umseg.common.files import read_text, write_csv
from umseg.common.text import few
from umseg.dataset.io.registry import picture_endings

CASE_COLUMNS = ("case", "id", "image", "file", "name")
SPLIT_COLUMNS = ("split",)
GROUP_COLUMNS = ("group", "field_group")
_MOST_BYTES = 256 * 2**20
TRAINING = ("train", "training")


@dataclass(frozen=True)
class Columns:
    """Names of the manifest's columns; None stands for the usual name, if there is such a column.

    Attributes:
        case: Column with the case or file name; usually case, id, image, file or name.
        split: Column with ``train`` for the training cases; usually split.
        group: Column with the group of each case, e.g. the patient; usually group or field_group.
    """

    case: str | None = None
    split: str | None = None
    group: str | None = None


USUAL_COLUMNS = Columns()


@dataclass(frozen=True)
class Row:
    """The manifest's row of a case.

    Attributes:
        training: Whether the case is for training.
        group: The group that the case belongs to, if any.
    """

    training: bool = True
    group: str | None = None


def read_manifest(path: Path, columns: Columns) -> dict[str, Row]:
    """Read a table with one row per case.

    Without a column for the split, all cases are for training.

    Returns:
        The row of each case, by the file name without folder and ending.

    Raises:
        UserError: The table cannot be read, lacks a column, names a case twice or no case for training, or has rows
            without a case or a split.
    """
    header, rows = read_table(path, "The manifest")
    case = _column(path, header, columns.case, CASE_COLUMNS)
    if case is None:
        raise _missing(path, header, " or ".join(CASE_COLUMNS))
    split = _column(path, header, columns.split, SPLIT_COLUMNS)
    group = _column(path, header, columns.group, GROUP_COLUMNS)
    names = [case_name(row[case]) for row in rows]
    _require_unique(path, names)
    _require_filled(path, rows, [case] if split is None else [case, split])
    cases = {
        name: Row(
            training=split is None or row[split].strip().lower() in TRAINING,
            group=(row[group].strip() or None) if group else None,
        )
        for name, row in zip(names, rows, strict=True)
    }
    if split is not None and not any(row.training for row in cases.values()):
        raise UserError(
            "The manifest has no case for training.",
            file=path,
            found=f"{split}: " + few(sorted({row[split] for row in rows})),
            expected=f"{' or '.join(TRAINING)} in the column {split}",
            remedy="Name the column that says which cases are for training with --split-column.",
        )
    return cases


def write_groups(path: Path, rows: Mapping[str, Row]) -> None:
    """Write the groups of cases as CSV (case, group), sorted by case.

    A case without a group forms a group by itself.
    """
    write_csv(path, [("case", "group"), *((case, row.group or case) for case, row in sorted(rows.items()))])


def case_name(text: str) -> str:
    """The case that a path or file name denotes."""
    name = Path(text.strip()).name
    ending = next((ending for ending in picture_endings() if name.lower().endswith(ending)), "")
    return name[: len(name) - len(ending)]


def read_table(path: Path, what: str) -> tuple[Sequence[str], list[dict[str, str]]]:
    """The header and the rows of a table in CSV; cells that a row lacks are empty.

    Args:
        path: The file.
        what: What it is, for the message: ``The manifest``.

    Raises:
        UserError: The file cannot be read.
    """
    try:
        # Spreadsheets put a byte order mark first.
        reader = csv.DictReader(io.StringIO(read_text(path, _MOST_BYTES, "utf-8-sig"), newline=""), restval="")
        return reader.fieldnames or (), list(reader)
    except OSError as error:
        raise UserError(
            f"{what} cannot be read.", file=path, found=error.strerror or str(error), remedy="Check the path."
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"{what} cannot be read.", file=path, found=str(error), remedy="Save it as CSV in UTF-8."
        ) from error


def _column(path: Path, header: Sequence[str], named: str | None, usual: Sequence[str]) -> str | None:
    if named is None:
        return next((name for name in usual if name in header), None)
    if named not in header:
        raise _missing(path, header, named)
    return named


def _missing(path: Path, header: Sequence[str], expected: str) -> UserError:
    return UserError(
        "The manifest lacks a column.",
        file=path,
        found=", ".join(header) or "an empty file",
        expected=expected,
        remedy="Name the column: --case-column, --split-column or --group-column. Columns are separated by commas.",
    )


def _require_unique(path: Path, names: Sequence[str]) -> None:
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise UserError(
            "The manifest names a case more than once.",
            file=path,
            found=few(twice),
            expected="one row per case",
            remedy="Remove the surplus rows.",
        )


def _require_filled(path: Path, rows: Sequence[Mapping[str, str]], columns: Sequence[str]) -> None:
    for column in columns:
        # The header is line 1.
        empty = [str(line) for line, row in enumerate(rows, start=2) if not row[column].strip()]
        if empty:
            raise UserError(
                f"The manifest has {len(empty)} rows without a value in the column {column}.",
                file=path,
                found="line " + few(empty),
                remedy="Fill in the cells or remove the rows.",
            )
