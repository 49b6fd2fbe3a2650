"""Claims on folders: one process at a time plans a workspace, trains a fold or predicts into a folder.

A claim is a lock of the operating system on a hidden file of the folder. The lock ends with its process, even if that
is killed, so that what a dead process left behind blocks nobody. A second hidden file says who holds the claim.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Literal

import psutil
from filelock import FileLock, Timeout

from umseg.common.errors import UserError
from umseg.common.files import FILE_MODE
from umseg.common.record import Record

log = logging.getLogger(__name__)

_LOCK = ".umseg-claim"
_RECORD = ".umseg-claim.json"
_GRACE = 1.0
"""Seconds for which a claim that is held is tried again: ``holder`` takes the lock for a moment to look."""
_POLL, _LONG_POLL = 0.05, 0.5
_held: dict[Path, int] = {}
_guard = threading.Lock()


class Holder(Record):
    """The process that holds a claim.

    Attributes:
        pid: Number of the process.
        host: Name of its machine.
        command: The command line that started it.
        purpose: What it does in the folder, as a verb with its object: ``trains this fold``.
        since: When it began, as local date and time with the offset from UTC.
    """

    schema_version: Literal[1] = 1
    pid: int
    host: str
    command: str
    purpose: str
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}: {self.command}"


@contextlib.contextmanager
def claim(folder: Path, purpose: str, *, wait: float = 0.0) -> Iterator[None]:
    """Hold a folder against other processes; it is made if it is missing, and removed again if it stays empty.

    A process may claim a folder again that it holds: the claim ends with the outermost block. Its worker processes
    share the claim and need none of their own. Where the file system knows no locks, work goes on with a warning; in
    a folder that this user cannot write, there is nothing to protect.

    Args:
        folder: The folder.
        purpose: What is done in it, as a verb with its object: ``trains this fold``.
        wait: Seconds to wait, with a notice, for a process that holds the folder; 0 refuses at once.

    Raises:
        UserError: Another process holds the folder, and did not release it in time. The message names that process.
    """
    folder = Path(folder).resolve()
    with _guard:
        _held[folder] = _held.get(folder, 0) + 1
        outermost = _held[folder] == 1
    try:
        with _lock(folder, purpose, wait) if outermost else contextlib.nullcontext():
            yield
    finally:
        with _guard:
            _held[folder] -= 1
            if not _held[folder]:
                del _held[folder]


def holder(folder: Path) -> Holder | None:
    """The process that holds a claim on a folder, or None. The claims of this process count, too."""
    folder = Path(folder).resolve()
    if not (folder / _LOCK).exists():
        return None
    if folder in _held:
        return _read(folder)
    lock = FileLock(folder / _LOCK, mode=FILE_MODE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return _read(folder) or _UNKNOWN
    except (OSError, NotImplementedError):
        # The lock cannot be tried, for example in another user's folder: the record has to do.
        found = _read(folder)
        elsewhere = found is not None and found.host != socket.gethostname()
        return found if found and (elsewhere or psutil.pid_exists(found.pid)) else None
    lock.release()
    return None


def clear_folder(folder: Path) -> None:
    """Delete what a claimed folder holds, except for the claim; other processes see it as held throughout.

    Raises:
        UserError: Something in it cannot be deleted.
    """
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if path.name in (_LOCK, _RECORD):
            continue
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(
                "Files of an earlier run cannot be deleted.",
                file=path,
                found=error.strerror or str(error),
                remedy="Check that you may delete files there, and that no other program has them open.",
            ) from error


@contextlib.contextmanager
def _lock(folder: Path, purpose: str, wait: float) -> Iterator[None]:
    missing = _missing(folder)
    lock = FileLock(folder / _LOCK, mode=FILE_MODE)
    try:
        # Where the folder cannot be made, whoever writes there next says why.
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
        if folder.is_dir() and _acquire(lock, folder, wait):
            _write(folder, purpose)
        yield
    finally:
        if lock.is_locked:
            _release(lock, folder)
        for made in missing:
            with contextlib.suppress(OSError):  # it is not empty
                made.rmdir()


def _acquire(lock: FileLock, folder: Path, wait: float) -> bool:
    """Take the lock; returns False where there are no locks.

    Raises:
        UserError: Another process holds it.
    """
    try:
        with contextlib.suppress(Timeout):
            lock.acquire(timeout=_GRACE, poll_interval=_POLL)
            return True
        if wait:
            found = _read(folder) or _UNKNOWN
            log.warning("Waiting for another process, which %s: %s.", found.purpose, found)
            with contextlib.suppress(Timeout):
                lock.acquire(timeout=wait, poll_interval=_LONG_POLL)
                return True
    except (OSError, NotImplementedError) as error:
        if os.access(folder, os.W_OK):
            log.warning("%s cannot be locked (%s): start no second command that works there.", folder, error)
        return False
    found = _read(folder) or _UNKNOWN
    raise UserError(
        f"Another process works in this folder: it {found.purpose}.",
        file=folder,
        found=str(found),
        remedy="Wait until it ends, or stop it; then run the same command again.",
    )


def _release(lock: FileLock, folder: Path) -> None:
    """Remove the files and release the lock; a process that has already opened the file sees that it is gone."""
    with contextlib.suppress(OSError):
        (folder / _RECORD).unlink(missing_ok=True)
    if os.name == "nt":
        # Windows keeps files that are open, by this process or by the next one.
        lock.release()
    with contextlib.suppress(OSError):
        (folder / _LOCK).unlink(missing_ok=True)
    lock.release()


def _missing(folder: Path) -> list[Path]:
    """The folders of a path that do not exist, from the last one up."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def this_process(purpose: str) -> Holder:
    """This process, which begins now to do something."""
    now = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    return Holder(pid=os.getpid(), host=socket.gethostname(), command=_command_line(), purpose=purpose, since=now)


def _write(folder: Path, purpose: str) -> None:
    with contextlib.suppress(UserError):  # the lock itself holds, even on a full disk
        this_process(purpose).save(folder / _RECORD)


def _read(folder: Path) -> Holder | None:
    try:
        return Holder.load(folder / _RECORD, "")
    except UserError:
        return None


def _command_line() -> str:
    program = Path(sys.argv[0])
    name = program.parent.name if program.name == "__main__.py" else program.name
    return shlex.join([name, *sys.argv[1:]])


_UNKNOWN = Holder(pid=0, host="an unknown machine", command="unknown", purpose="works there", since="unknown")
