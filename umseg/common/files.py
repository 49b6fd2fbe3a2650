"""Atomic writing: files appear whole or not at all."""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from umseg.common.errors import UserError

_TEMPORARY = ".tmp-"


@contextlib.contextmanager
def atomic_path(path: Path, needed: int | None = None, sync: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it is synced to disk and renamed to ``path``.

    The temporary name keeps the file's suffixes, because image writers choose the format by them. On any
    error the temporary file is removed, and an earlier file at ``path`` stays unchanged.

    Args:
        path: The file.
        needed: Size of the file in bytes, if it is known beforehand; for the message when the disk is full.
        sync: Whether the file is synced to disk, which takes some milliseconds. It is not necessary where a checksum
            shows damage by a power cut.

    Raises:
        UserError: The folder cannot be written or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f"{_TEMPORARY}{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if sync:
            with temporary.open("rb+") as handle:
                os.fsync(handle.fileno())
        if os.name == "posix":
            # Some libraries create files that only their owner may read, but the folder may be shared.
            temporary.chmod(FILE_MODE)
        temporary.replace(path)
    except OSError as error:
        # Removed before the message is made, which says how much space is free.
        _remove(temporary)
        raise _explain(error, path, needed) from error
    finally:
        _remove(temporary)


def _default_permissions() -> int:
    """Permissions of new files. The mask can only be read by setting it, which threads see: done once, on import."""
    mask = os.umask(0o077)
    os.umask(mask)
    return 0o666 & ~mask


FILE_MODE = _default_permissions()
"""Permissions of new files, which the user's mask decides."""


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of a killed process in ``folder`` (not in subfolders) while nobody writes there."""
    for path in Path(folder).glob(f"{_TEMPORARY}*"):
        _remove(path)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_csv(path: Path, rows: Iterable[Iterable[object]]) -> None:
    """Write a table as comma-separated values in UTF-8, atomically.

    Args:
        path: The file.
        rows: The header first. None becomes an empty cell.

    Raises:
        UserError: The file cannot be written or the disk is full.
    """
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_text(path, text.getvalue())


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _explain(error: OSError, path: Path, needed: int | None) -> UserError:
    remedy = "Free some space or choose another folder, and run the same command again."
    if error.errno == errno.ENOSPC:
        free = shutil.disk_usage(next(p for p in path.absolute().parents if p.exists())).free
        return UserError(
            "The disk is full: the file was not written.",
            file=path,
            found=f"{free / 2**20:.1f} MiB free",
            expected=None if needed is None else f"{needed / 2**20:.1f} MiB for this file",
            remedy=remedy,
        )
    if error.errno == errno.EDQUOT:
        return UserError("Your disk quota is used up: the file was not written.", file=path, remedy=remedy)
    return UserError(
        "The file cannot be written.",
        file=path,
        found=error.strerror or str(error),
        remedy="Check that the folder exists and that you may write to it, or choose another folder.",
    )
