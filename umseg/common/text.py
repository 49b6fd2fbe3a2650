"""Small pieces of text that many messages need."""

from __future__ import annotations

from collections.abc import Iterable


def few(names: Iterable[str], most: int = 5) -> str:
    """The first names of a list, separated by commas, and how many more there are.

    Args:
        names: All names.
        most: Number of names that are shown.
    """
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


def by(sizes: Iterable[object]) -> str:
    """Sizes along several axes as people write them: ``512 x 512 x 80``."""
    return " x ".join(map(str, sizes))
