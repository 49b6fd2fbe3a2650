"""The content of folders, or the reason why it cannot be read."""

from __future__ import annotations

from pathlib import Path

from umseg.common.errors import UserError


def list_folder(folder: Path) -> tuple[list[Path], list[Path]]:
    """The files and the folders in a folder, each sorted.

    Hidden ones do not count: they are leftovers of file managers and of interrupted writers.

    Raises:
        UserError: The folder cannot be read.
    """
    try:
        visible = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        return [path for path in visible if path.is_file()], [path for path in visible if path.is_dir()]
    except OSError as error:
        raise not_readable(folder, error) from error


def is_folder(path: Path) -> bool:
    """Whether there is a folder.

    Raises:
        UserError: A folder above it may not be entered.
    """
    try:
        return path.is_dir()
    except OSError as error:
        raise not_readable(path, error) from error


def not_readable(path: Path, error: OSError) -> UserError:
    """The error for a file or folder that the system does not let the user read."""
    return UserError(
        "A file or folder cannot be read.",
        file=path,
        found=error.strerror or str(error),
        remedy="Check that you have permission to read it and to enter the folders above it.",
    )
