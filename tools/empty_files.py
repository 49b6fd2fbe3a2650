"""Find files that are empty though nothing needs them to be, such as the output of a command that failed.

    python tools/empty_files.py FILE ...

Prints their names and exits with 1 if there are any; pre-commit gives it the files of a commit.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

MAY_BE_EMPTY = frozenset({"__init__.py", "py.typed", ".gitkeep"})


def empty_files(paths: Iterable[Path]) -> list[Path]:
    """The files of no bytes, apart from those whose mere existence says something."""
    return [path for path in paths if path.is_file() and path.name not in MAY_BE_EMPTY and not path.stat().st_size]


def main(arguments: list[str]) -> int:
    """Print the empty files among the arguments; the exit status."""
    found = empty_files(Path(name) for name in arguments)
    for path in found:
        print(f"{path} is empty. Remove it, or write what belongs in it.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
