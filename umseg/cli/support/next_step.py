"""The command that usually follows a verb, with the paths of this workspace."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

from umseg.workspace import DEFAULT_ROOT


def next_step(*words: str | Path | Iterable[str | Path]) -> str:
    """The line "Next: umseg ...", ready to be copied into a shell.

    Args:
        words: The command after ``umseg``: single words, and lists of them.
    """
    flat = [str(part) for word in words for part in ([word] if isinstance(word, (str, Path)) else word)]
    return "Next: " + shlex.join(["umseg", *flat])


def of_workspace(folder: Path) -> list[str]:
    """The words that name a planned data set: its name, and --workspace where it is not the default."""
    folder = Path(folder)
    if folder.parent == DEFAULT_ROOT.absolute():
        return [folder.name]
    return [folder.name, "--workspace", str(folder.parent)]
