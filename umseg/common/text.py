"""Short texts for messages and tables: a few of many names, sizes per axis, aligned columns."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence


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
