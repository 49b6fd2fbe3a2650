"""Reading of regular files of limited size, and atomic writing: files appear whole or not at all."""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import os
import shutil
import stat
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from umseg.common.errors import UserError

_TEMPORARY = ".tmp-"
# Letters of a name that its temporary name keeps: file systems allow 255 bytes, and a letter has up to four.
_KEPT = 48
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_regular(path: Path, most: int | None = None, remedy: str | None = None) -> BinaryIO:
    """Open a regular file for reading; a pipe, a device or a folder is refused before it is opened.

    Reading a pipe can wait for ever, and a device such as /dev/zero has no end.

    Args:
        path: The file, or a link to it.
        most: Largest size in bytes; None allows any size.
        remedy: What the user can do if the file is refused.

    Raises:
        UserError: The path is no regular file, or the file is too large.
        OSError: The file is missing or cannot be opened.
    """
    path = Path(path)
    _require_regular(path, path.stat(), most, remedy)
    # Between the two looks the file can be replaced by a pipe. O_NONBLOCK opens that without waiting for a writer, and
    # the second look refuses it. Windows has neither O_NONBLOCK nor pipes among its files, but needs O_BINARY.
    flags = sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY"))
    descriptor = os.open(path, os.O_RDONLY | flags)
    try:
        _require_regular(path, os.fstat(descriptor), most, remedy)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: Path, most: int, remedy: str | None = None) -> bytes:
    """The content of a regular file of at most ``most`` bytes.

    Raises:
        UserError: The path is no regular file, or the file is too large.
        OSError: The file is missing or cannot be read.
    """
    with open_regular(path, most, remedy) as file:
        # Files of /proc, and files that grow, hold more than they state.
        content = file.read(most + 1)
    if len(content) > most:
        raise _too_large(Path(path), len(content), most, remedy)
    return content


def read_text(path: Path, most: int, encoding: str = "utf-8", remedy: str | None = None) -> str:
    """The text of a regular file of at most ``most`` bytes; line ends are kept as they are.

    Raises:
        UserError: The path is no regular file, or the file is too large.
        OSError: The file is missing or cannot be read.
        UnicodeDecodeError: The file is not in ``encoding``.
    """
    return read_bytes(path, most, remedy).decode(encoding)


def _require_regular(path: Path, status: os.stat_result, most: int | None, remedy: str | None) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise UserError(
            f"{path.name or path} cannot be read, because it is not a regular file.",
            file=path,
            found=_KINDS.get(stat.S_IFMT(status.st_mode), "something else"),
            expected="a regular file",
            remedy=remedy,
        )
    if most is not None and status.st_size > most:
        raise _too_large(path, status.st_size, most, remedy)


def _too_large(path: Path, size: int, most: int, remedy: str | None) -> UserError:
    return UserError(
        f"{path.name} is too large to be what it should be.",
        file=path,
        found=f"{size:,} bytes",
        expected=f"at most {most:,} bytes",
        remedy=remedy,
    )


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
    temporary = path.with_name(f"{_TEMPORARY}{uuid.uuid4().hex[:8]}-{path.name[-_KEPT:]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _settle(temporary, sync)
        temporary.replace(path)
    except OSError as error:
        # Removed before the message is made, which says how much space is free.
        _remove(temporary)
        raise _explain(error, path, needed) from error
    finally:
        _remove(temporary)


@contextlib.contextmanager
def staged_path(path: Path) -> Iterator[Path]:
    """Yield a path of the same name in a temporary folder; on success, move all its files to the folder of ``path``.

    Writers of formats that have several files, or that choose the format by the name, find the final names there. The
    files are synced to disk first. The file itself is moved last, and an earlier one is removed before the others are
    moved, so that at no time a file stands beside the companions of another one. On any error the temporary folder is
    removed, and earlier files stay unchanged.

    Raises:
        UserError: The folder cannot be written or the disk is full.
    """
    path = Path(path)
    folder = path.with_name(f"{_TEMPORARY}{uuid.uuid4().hex[:8]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
        staged = folder / path.name
        yield staged
        companions = sorted(file for file in folder.iterdir() if file != staged)
        for file in (*companions, staged):
            _settle(file)
        if companions:
            path.unlink(missing_ok=True)
        for file in (*companions, staged):
            file.replace(path.with_name(file.name))
    except OSError as error:
        # Removed before the message is made, which says how much space is free.
        _remove(folder)
        raise _explain(error, path, None) from error
    finally:
        _remove(folder)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a new, empty folder beside ``path``; on success it is synced to disk and renamed to ``path``.

    On any error it is removed with all that is in it.

    Raises:
        UserError: There is something at ``path`` already, the folder cannot be written, or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f"{_TEMPORARY}{uuid.uuid4().hex[:8]}")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                _settle(file)
        _rename_folder(temporary, path)
    except OSError as error:
        # Removed before the message is made, which says how much space is free.
        _remove(temporary)
        raise _explain(error, path, None) from error
    finally:
        _remove(temporary)


def _rename_folder(temporary: Path, path: Path) -> None:
    """Give a folder its name, unless there is something of that name; only an empty folder is replaced."""
    try:
        temporary.rename(path)
    except OSError as error:
        if not os.path.lexists(path):
            raise
        raise UserError(
            f"{path.name} is there already.", file=path, remedy="Choose another name, or remove what is there."
        ) from error


def _settle(path: Path, sync: bool = True) -> None:
    """Sync a finished file to disk, and let those read it who may read new files."""
    if sync:
        with path.open("rb+") as handle:
            os.fsync(handle.fileno())
    if os.name == "posix":
        # Some libraries create files that only their owner may read, but the folder may be shared.
        path.chmod(FILE_MODE)


def plain_path(path: str | os.PathLike[str]) -> Path:
    """The absolute path without "..": links are followed only where that is necessary to know what ".." means."""
    path = Path(path).absolute()
    return path.resolve() if ".." in path.parts else path


def _default_permissions() -> int:
    """Permissions of new files. The mask can only be read by setting it, which threads see: done once, on import."""
    mask = os.umask(0o077)
    os.umask(mask)
    return 0o666 & ~mask


FILE_MODE = _default_permissions()
"""Permissions of new files, which the user's mask decides."""


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed process left unfinished in ``folder`` (not in subfolders) while nobody writes there."""
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
    """Remove a temporary file, or a temporary folder with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
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
