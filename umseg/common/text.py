"""Short texts for messages and tables: a few of many names, numbers of things, times, sizes, aligned columns."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Collection, Iterable, Sequence

LINE = 80
"""Number of characters that fit a line of a terminal."""


# What moves the cursor, changes colours, hides letters or turns the direction of writing on a terminal, and halves of
# letters, which no terminal can show.
_INVISIBLE = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u200b-\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ufeff\\ud800-\\udfff]"
)


def visible(text: str) -> str:
    """A text without control characters but line breaks and tabs: others are shown by their codes.

    Names of files and classes come from elsewhere; printed as they are, they could send commands to the terminal.
    """
    return _INVISIBLE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def few(names: Iterable[str], most: int = 5) -> str:
    """The first names of a list, separated by commas, and how many more there are.

    Args:
        names: All names.
        most: Number of names that are shown.
    """
    listed = list(names)
    remainder = len(listed) - most
    return ", ".join(listed[:most]) + (f" and {remainder} more" if remainder > 0 else "")


def printable(text: str, most: int = 200) -> str:
    """A text of at most ``most`` letters, with escapes in place of those that a terminal would obey."""
    shown = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text[:most])
    return shown + ("..." if len(text) > most else "")


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number of things as in "1 case", "2 cases" or "1,000 cases".

    Args:
        number: How many.
        noun: One of them.
        plural: Several of them, where that is not the noun with an s.
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def listed(names: Iterable[str]) -> str:
    """All names as in "a, b and c"."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def with_commas(names: Sequence[str], known: Collection[str]) -> list[str]:
    """The names, put together again where a comma is part of a known name: the command line splits a list there.

    Args:
        names: What stands between the commas of a list.
        known: All names that there are.
    """
    whole = {re.sub(r"\s*,\s*", ",", name): name for name in known if "," in name}
    found: list[str] = []
    rest = list(names)
    while rest:
        joined = (count for count in range(len(rest), 1, -1) if ",".join(rest[:count]) in whole)
        count = next(joined, 1)
        found.append(whole[",".join(rest[:count])] if count > 1 else rest[0])
        rest = rest[count:]
    return found


def duration(seconds: float) -> str:
    """A time in the unit that suits it: "12 s", "3 min", "1.5 h", "12 days"."""
    for unit, size, most in (("s", 1, 90), ("min", 60, 90), ("h", 3600, 48)):
        value = seconds / size
        if value < most:
            return f"{value:.1f} {unit}" if unit == "h" and value < 10 else f"{value:.0f} {unit}"
    return f"{seconds / 86400:.0f} days"


def wrapped(text: str, indent: str = "", first: str | None = None) -> list[str]:
    """The lines of a text, none longer than 80 characters unless a word is.

    Args:
        text: One paragraph.
        indent: Beginning of every line.
        first: Beginning of the first line instead.
    """
    start = indent if first is None else first
    lines = textwrap.wrap(
        text, LINE, initial_indent=start, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return lines or [start.rstrip()]


def by(sizes: Iterable[object]) -> str:
    """Sizes per axis as in "40 x 56 x 40"; fractions have up to six digits."""
    return " x ".join(f"{size:.6g}" if isinstance(size, float) else str(size) for size in sizes)


def table(
    rows: Sequence[Sequence[str]], *, right: Collection[int] = (), gap: int = 2, underlined: Collection[int] = ()
) -> list[str]:
    """The lines of a table whose columns are aligned.

    Args:
        rows: At least one; all have the same number of cells.
        right: Numbers of the columns that are aligned to the right; the others are aligned to the left.
        gap: Spaces between neighbouring columns.
        underlined: Numbers of the rows that are followed by a line across the table.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for number, row in enumerate(rows):
        cells = (
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append((" " * gap).join(cells).rstrip())
        if number in underlined:
            lines.append("-" * (sum(widths) + gap * (len(widths) - 1)))
    return lines
