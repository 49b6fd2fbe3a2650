"""Folders in which several processes do the same work: each one joins the others, and claims file after file.

A member holds a lock of the operating system on a hidden file for as long as it works, and another one on each file
that it makes. Locks end with their process, even if that is killed, so that what a dead process left blocks nobody.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from umseg.common.errors import UserError
from umseg.common.files import FILE_MODE
from umseg.common.processes.claims import Holder, claim, this_process
from umseg.common.record import Record

SECONDS_TO_JOIN = 600.0
"""Time to wait for another process that is just joining: it looks at all files of the folder."""
_MEMBER, _LOCK, _RECORD = ".umseg-member-", ".lock", ".json"
_CLAIM = ".umseg-claim-"
_POLL = 0.01
_joining = threading.Lock()


class Member(Record):
    """A process that works in a folder.

    Attributes:
        process: The process.
        terms: What must be the same for all of them, such as a digest of their settings.
    """

    schema_version: Literal[1] = 1
    process: Holder
    terms: str


@dataclass
class FileClaim:
    """A file that nobody else makes until the claim is released.

    Attributes:
        lock: Its lock; None where the file system knows none.
    """

    lock: FileLock | None

    def release(self) -> None:
        """Let others make the file."""
        if self.lock is not None:
            _release(self.lock)


@contextlib.contextmanager
def join(folder: Path, purpose: str, terms: str, begin: Callable[[bool], None]) -> Iterator[None]:
    """Work in a folder beside other processes that do so on the same terms; it is made if it is missing.

    Args:
        folder: The folder.
        purpose: What is done in it, as a verb with its object: ``predicts into this folder``.
        terms: What must be the same for all processes that work there.
        begin: Function that is called before any other process can join, and told whether none is there.

    Raises:
        UserError: Other processes work there on other terms, or one that began to join does not come to an end.
    """
    folder = Path(folder).resolve()
    with _joining, claim(folder, purpose, wait=SECONDS_TO_JOIN):
        others = members(folder)
        _refuse_other_terms(folder, others, terms)
        begin(not others)
        mine = _register(folder, Member(process=this_process(purpose), terms=terms))
    try:
        yield
    finally:
        if mine is not None:
            _record_of(mine).unlink(missing_ok=True)
            _release(mine)


def members(folder: Path) -> list[Member]:
    """The processes that work in a folder; what dead ones left is removed."""
    living = []
    for path in sorted(folder.glob(f"{_MEMBER}*{_LOCK}")):
        lock = FileLock(path, mode=FILE_MODE)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            with contextlib.suppress(UserError):  # it is leaving
                living.append(Member.load(_record_of(lock), ""))
        except (OSError, NotImplementedError):
            continue
        else:
            with contextlib.suppress(OSError):
                _record_of(lock).unlink(missing_ok=True)
            _release(lock)
    return living


def abandoned_since(path: Path) -> float | None:
    """When a process claimed a file that was killed before it released it, in seconds since 1970; None if none was.

    To be asked while nobody else works in the folder.
    """
    try:
        return _claim_of(path).stat().st_mtime
    except OSError:
        return None


def clear_claims(folder: Path) -> None:
    """Remove what killed processes left of their claims, while nobody else works in the folder."""
    for path in Path(folder).glob(f"{_CLAIM}*"):
        with contextlib.suppress(OSError):
            path.unlink()


def _claim_of(path: Path) -> Path:
    # Not with the ending of an image, for which others may look.
    return path.with_name(f"{_CLAIM}{path.name}{_LOCK}")


def claim_file(path: Path) -> FileClaim | None:
    """Claim a file; None if another process, or another thread, has claimed it.

    The folder is made if it is missing. Where there are no locks, or none can be made, everybody may make the file.
    """
    # Claimed by the thread that reads and released by the one that writes.
    lock = FileLock(_claim_of(path), mode=FILE_MODE, thread_local=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        return None
    except (OSError, NotImplementedError):
        return FileClaim(None)
    with contextlib.suppress(OSError):
        # File systems round the times that they set themselves, so that several claims would seem to be of one moment.
        now = time.time_ns()
        os.utime(lock.lock_file, ns=(now, now))
    return FileClaim(lock)


@contextlib.contextmanager
def locked(path: Path, seconds: float) -> Iterator[None]:
    """Hold the lock of a hidden file for a moment; where there are no locks, nothing is held.

    Args:
        path: The file, which is removed afterwards.
        seconds: Time to wait for others.

    Raises:
        UserError: Another process does not release it.
    """
    lock = FileLock(path, mode=FILE_MODE)
    try:
        lock.acquire(timeout=seconds, poll_interval=_POLL)
    except Timeout as error:
        raise UserError(
            "Another process does not let go of a file that it writes.",
            file=path,
            found=f"a lock that is held for more than {seconds:.0f} s",
            remedy="Stop that process, or wait until it ends; then run the same command again.",
        ) from error
    except (OSError, NotImplementedError):
        yield
        return
    try:
        yield
    finally:
        _release(lock)


def _refuse_other_terms(folder: Path, others: list[Member], terms: str) -> None:
    other = next((member for member in others if member.terms != terms), None)
    if other is not None:
        raise UserError(
            "Another process works in this folder with other settings, so that the two cannot share the work: it "
            f"{other.process.purpose}.",
            file=folder,
            found=str(other.process),
            expected="the same model and the same options",
            remedy="Wait until it ends, stop it, or choose another folder.",
        )


def _register(folder: Path, member: Member) -> FileLock | None:
    lock = FileLock(folder / f"{_MEMBER}{uuid.uuid4().hex[:12]}{_LOCK}", mode=FILE_MODE, thread_local=False)
    try:
        # The record first: whoever finds the lock held reads it.
        member.save(_record_of(lock))
        lock.acquire(timeout=0)
    except (UserError, OSError, NotImplementedError):
        # A full or read-only disk, or one without locks: whoever writes there next says so.
        _record_of(lock).unlink(missing_ok=True)
        return None
    return lock


def _record_of(lock: FileLock) -> Path:
    return Path(lock.lock_file).with_suffix(_RECORD)


def _release(lock: FileLock) -> None:
    """Remove the file and release the lock; a process that has already opened the file sees that it is gone."""
    if os.name == "nt":
        # Windows keeps files that are open, by this process or by the next one.
        lock.release()
    with contextlib.suppress(OSError):
        Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()
