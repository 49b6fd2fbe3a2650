"""Reports of the problems of a data set: a table of all in a file, the most informative ones on one screen."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from umseg.common.files import write_csv
from umseg.common.text import counted
from umseg.dataset.check.problems import DatasetError, Problem

log = logging.getLogger(__name__)

_COLUMNS = ("severity", "case", "problem", "file", "found", "expected", "remedy")
# A screen has some 24 lines: five kinds with their remedies and eight rows leave room for the rest.
_KINDS = 5
_ROWS = 8
_CELL = 40
_LINE = 160


def write_problems(path: Path, problems: Sequence[Problem]) -> None:
    """Write all problems as CSV, errors first, atomically.

    Raises:
        UserError: The file cannot be written.
    """
    rows = ([getattr(problem, column) for column in _COLUMNS] for problem in _errors_first(problems))
    write_csv(path, [_COLUMNS, *rows])


def report_problems(problems: Sequence[Problem], folder: Path | None = None, table: Path | None = None) -> None:
    """Log the warnings, one line per kind; raise the errors together, on one screen.

    Args:
        problems: Problems of all cases.
        folder: Folder of the data set, for the message.
        table: The CSV file for all problems. If there are none, the table of an earlier run is removed.

    Raises:
        DatasetError: There is at least one error.
    """
    if table is not None:
        if problems:
            write_problems(table, problems)
        else:
            table.unlink(missing_ok=True)
    if any(problem.severity == "error" for problem in problems):
        raise _error(_errors_first(problems), folder, table)
    for kind, of_kind in _by_kind(problems).items():
        log.warning("%s %s%s. %s", kind, _places(of_kind), _summary(of_kind[0]), of_kind[0].remedy)
    if problems and table is not None:
        log.warning("%s: %s", "The warning" if len(problems) == 1 else f"All {len(problems):,} warnings", table)


def _error(problems: Sequence[Problem], folder: Path | None, table: Path | None) -> DatasetError:
    where = "" if table is None else f"All problems are listed in {table}"
    if len(problems) > 1:
        return DatasetError(
            "\n".join(_screen(problems)),
            problems,
            file=folder,
            remedy=where or "Correct these problems and run the same command again.",
        )
    (only,) = problems
    return DatasetError(
        f"Case {only.case}: {only.problem}" if only.case else only.problem,
        problems,
        only.file,
        only.found,
        only.expected,
        "\n            ".join(text for text in (only.remedy, where) if text),
    )


def _screen(problems: Sequence[Problem]) -> list[str]:
    """The lines of a table that shows every kind of problem, or the first few of many kinds."""
    errors = sum(problem.severity == "error" for problem in problems)
    counts = [_count(errors, "error"), *([_count(len(problems) - errors, "warning")] if errors < len(problems) else [])]
    cases = {problem.case for problem in problems if problem.case}
    kinds = _by_kind(problems)
    order = sorted(kinds, key=lambda kind: (kinds[kind][0].severity, -len(kinds[kind])))
    shown = {kind: kinds[kind] for kind in order[:_KINDS]}
    rows = _rows(shown)
    widths = [
        max(map(len, column)) for column in zip(*(row for of_kind in rows.values() for row in of_kind), strict=True)
    ]
    lines = ["There are " + " and ".join(counts) + (f" in {_count(len(cases), 'case')}." if cases else ".")]
    for kind, of_kind in shown.items():
        hidden = len(of_kind) - len(rows[kind])
        lines.append(_cut(f"  {len(of_kind)} x {kind}" + (f" ({hidden} more than shown)" if hidden else "")))
        lines += ["    " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows[kind]]
        lines.append(_cut(f"    remedy: {of_kind[0].remedy}"))
    if order[_KINDS:]:
        others = [f"{len(kinds[kind])} x {kind}" for kind in order[_KINDS:]]
        lines.append(_cut("  and " + " ".join(others)))
    return lines


def _rows(kinds: dict[str, list[Problem]]) -> dict[str, list[list[str]]]:
    """The cells to show. The kinds take turns, so that a frequent kind does not hide the others."""
    longest = max(len(of_kind) for of_kind in kinds.values())
    turns = [(kind, turn) for turn in range(longest) for kind, of_kind in kinds.items() if turn < len(of_kind)]
    rows: dict[str, list[list[str]]] = {kind: [] for kind in kinds}
    for kind, turn in turns[:_ROWS]:
        problem = kinds[kind][turn]
        expected = f"expected {problem.expected}" if problem.expected else ""
        rows[kind].append([_cut(text, _CELL) for text in (problem.severity, _name(problem), problem.found, expected)])
    return rows


def _errors_first(problems: Sequence[Problem]) -> list[Problem]:
    return sorted(problems, key=lambda problem: problem.severity)


def _by_kind(problems: Sequence[Problem]) -> dict[str, list[Problem]]:
    kinds: dict[str, list[Problem]] = {}
    for problem in problems:
        kinds.setdefault(problem.problem, []).append(problem)
    return kinds


def _places(problems: Sequence[Problem]) -> str:
    """How many files and cases have a problem, as the beginning of a sentence about the first of them."""
    files, cases = {problem.file for problem in problems}, {problem.case for problem in problems if problem.case}
    if not cases:
        number = counted(len(files), "file")
    else:
        number = counted(len(cases), "case")
        if len(files) > len(cases):
            number = f"{counted(len(files), 'file')} of {number}"
    return f"{number}: " if len(files) == 1 else f"{number}, first: "


def _summary(problem: Problem) -> str:
    text = problem.found if problem.found.startswith(_name(problem)) else f"{_name(problem)}: {problem.found}"
    return _cut(text + f"; expected {problem.expected}" if problem.expected else text)


def _name(problem: Problem) -> str:
    """The file's name, preceded by the case where the name does not contain it."""
    names_case = problem.case in problem.file.name
    return problem.file.name if names_case else f"{problem.case}: {problem.file.name}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _cut(text: str, limit: int = _LINE) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."
