"""The content of folders, and the reason why a file or folder cannot be read.

A name counts wherever it leads: a link whose content was never fetched is listed as a file, and reading it is an error
that says so. Otherwise a case, or a slice of one, would be left out without a word.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from umseg.common.errors import UserError

_FETCH = (
    "Fetch the content of the link (datalad get, git annex get, dvc pull), mount the disk that it leads to, or remove "
    "the link."
)

_LONGEST_POINTER = 400
_POINTERS = {b"version https://git-lfs.github.com/spec/": "Git LFS", b"/annex/objects/": "git-annex"}


def list_folder(folder: Path) -> tuple[list[Path], list[Path]]:
    """The files and the folders in a folder, each sorted.

    Links that lead nowhere and entries that cannot be looked at count as files: ``refuse_missing`` tells why they
    cannot be read. Hidden ones do not count: they are leftovers of file managers and of interrupted writers.

    Raises:
        UserError: The folder cannot be read.
    """
    try:
        visible = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise not_readable(folder, error) from error
    folders = {path for path in visible if _leads_to_folder(path)}
    return [path for path in visible if path not in folders], [path for path in visible if path in folders]


def is_lost(path: Path) -> bool:
    """Whether a path is a link that leads nowhere, or to a place that may not be entered."""
    try:
        path.stat()
    except OSError:
        return os.path.islink(path)  # noqa: PTH114, which does not raise
    return False


def refuse_lost(path: Path) -> None:
    """Require that a path is no link that leads nowhere; nothing need be there at all.

    Raises:
        UserError: It is one; the message names its target.
    """
    if is_lost(path):
        refuse_missing(path)


def is_folder(path: Path) -> bool:
    """Whether there is a folder.

    Raises:
        UserError: A folder above it may not be entered.
    """
    try:
        return path.is_dir()
    except OSError as error:
        raise not_readable(path, error) from error


def refuse_missing(path: Path, *, folders: bool = False) -> None:
    """Require that there is a file whose content can be read.

    Args:
        path: The file.
        folders: Whether it may be a folder.

    Raises:
        UserError: There is none; the message names the target of a link that leads nowhere.
    """
    try:
        found = path.stat()
    except OSError as error:
        if is_lost(path):
            raise UserError(
                "A link leads to a file that cannot be reached.",
                file=path,
                found=f"a link to {path.readlink()}, {_reason(error)}",
                expected="a file",
                remedy=_FETCH,
            ) from error
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            raise not_readable(path, error) from error
        raise _no_file(path, None) from error
    kind = found.st_mode
    if stat.S_ISDIR(kind) and not folders:
        raise _no_file(path, "a folder")
    if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
        raise _no_file(path, "a device or pipe")
    if stat.S_ISREG(kind) and found.st_size <= _LONGEST_POINTER:
        _refuse_pointer(path)


def _refuse_pointer(path: Path) -> None:
    """Raise a UserError for the small text that stands for a file whose content was never fetched."""
    try:
        with path.open("rb") as handle:
            head = handle.read(_LONGEST_POINTER)
    except OSError as error:
        raise not_readable(path, error) from error
    for beginning, name in _POINTERS.items():
        if head.startswith(beginning):
            raise UserError(
                "A file has only a pointer to its content, which has not been fetched.",
                file=path,
                found=f"a pointer of {name}",
                expected="the content of the file",
                remedy="Fetch the content (git lfs pull, git annex get, datalad get).",
            )


def not_readable(path: Path, error: OSError) -> UserError:
    """The error for a file or folder that the system does not let the user read."""
    return UserError(
        "A file or folder cannot be read.",
        file=path,
        found=error.strerror or str(error),
        remedy="Check that you have permission to read it and to enter the folders above it.",
    )


def _no_file(path: Path, found: str | None) -> UserError:
    return UserError(
        "An image file does not exist.",
        file=path,
        found=found,
        expected=None if found is None else "a file",
        remedy="Check the path; put the file back or take the case out of the data set.",
    )


def _reason(error: OSError) -> str:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "which does not exist"
    return error.strerror or str(error)


def _leads_to_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False
