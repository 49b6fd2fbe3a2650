"""Worker processes: they end with their parent, say what they work on, and their end is explained."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess

import psutil

from umseg.common.text import duration

_ROW = 256
"""Bytes in which a worker says what it works on."""
SECONDS_TO_END = 5.0
"""Time that a process has to end, after it was told to or has lost its pipe."""


def end_with_parent() -> None:
    """In a worker: exit as soon as the parent process has ended, even if the parent was killed.

    Otherwise the worker would finish its work, write results among those of the next run, and then wait for ever. A
    parent that ended while this process was starting is noticed, too: its end is read from a pipe, not from a change.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, name="end with parent", daemon=True).start()


@contextlib.contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Processes that are started inside never hear Ctrl-C, which reaches all processes of a terminal.

    Their parent ends them. A worker that imports its modules would otherwise end with a traceback. This process hears
    it after the block. Windows has no such mask; there the workers ignore Ctrl-C once they have started.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    # Its start would take the mask away.
    resource_tracker.ensure_running()
    earlier = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)


@dataclass(frozen=True)
class Work:
    """What a worker works on.

    Attributes:
        pid: The worker's process.
        case: Name of the case.
        seconds: Time since it began.
    """

    pid: int
    case: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.case} ({duration(self.seconds)})"


class Board:
    """Shared memory in which every worker writes what it works on, so that its parent can say so after its death.

    Args:
        rows: Number of cases that can be at work at once.
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._memory = multiprocessing.get_context("spawn").RawArray(ctypes.c_char, rows * _ROW)

    def _bytes(self) -> memoryview:
        return memoryview(self._memory).cast("B")

    def write(self, row: int, case: str) -> None:
        """In a worker: work on a case begins."""
        text = f"{os.getpid()} {time.time():.3f} {case}".encode()[: _ROW - 1]
        self._bytes()[row * _ROW : (row + 1) * _ROW] = text.ljust(_ROW, b"\0")

    def clear(self, row: int) -> None:
        """In a worker: work on the case has ended."""
        self._bytes()[row * _ROW : (row + 1) * _ROW] = bytes(_ROW)

    def read(self) -> list[Work]:
        """The cases that are being worked on, or were when their worker died; the longest first."""
        now, found = time.time(), []
        for row in range(self._rows):
            text = bytes(self._bytes()[row * _ROW : (row + 1) * _ROW]).rstrip(b"\0").decode(errors="replace")
            pid, _, rest = text.partition(" ")
            began, _, case = rest.partition(" ")
            # A row may be read while it is written.
            with contextlib.suppress(ValueError):
                found.append(Work(int(pid), case, max(now - float(began), 0.0)))
        return sorted(found, key=lambda work: -work.seconds)


@dataclass
class _Membership:
    """The place at which this process says what it works on; a process that is not a worker has none."""

    board: Board | None = None
    row: int = 0


_MINE = _Membership()


def join_board(board: Board, row: int = 0) -> None:
    """In a worker: ``note_case`` writes to this row of the board."""
    _MINE.board = board
    take_row(row)


def take_row(row: int) -> None:
    """In a worker: ``note_case`` writes to another row of its board."""
    _MINE.row = row


def note_case(case: str | None) -> None:
    """Say that this process begins to work on a case, or has none (None); only a worker has to whom to say it."""
    if _MINE.board is None:
        return
    if case is None:
        _MINE.board.clear(_MINE.row)
    else:
        _MINE.board.write(_MINE.row, case)


@dataclass(frozen=True)
class End:
    """How a worker ended.

    Attributes:
        code: Its exit code; minus the number of a signal.
        case: The case that it was working on; None if it worked on none.
    """

    code: int
    case: str | None

    @property
    def signal_name(self) -> str | None:
        """Name of the signal that ended it, or None."""
        if self.code >= 0:
            return None
        try:
            return signal.Signals(-self.code).name
        except ValueError:
            return f"signal {-self.code}"

    def __str__(self) -> str:
        how = f"by {self.signal_name}" if self.signal_name else f"with exit code {self.code}"
        return f"ended {how}" + (f" while it worked on case {self.case}" if self.case else "")


def wait_for_ends(workers: Sequence[BaseProcess]) -> None:
    """Wait until all have ended, but not for long."""
    deadline = time.monotonic() + SECONDS_TO_END
    while any(worker.exitcode is None for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.02)


def unexpected_ends(workers: Sequence[BaseProcess], board: Board) -> list[End]:
    """The ends of all workers that ended by themselves; those that were told to end are left out if there are others.

    Args:
        workers: The workers.
        board: What they worked on.
    """
    cases = {work.pid: work.case for work in board.read()}
    ends = [End(code, cases.get(worker.pid or 0)) for worker in workers if (code := worker.exitcode)]
    told = -int(signal.SIGTERM)
    return [end for end in ends if end.code != told] or ends


def cpu_seconds(workers: Sequence[BaseProcess]) -> float:
    """Time that processes have computed for; one that waits or is stopped computes nothing."""
    total = 0.0
    for worker in workers:
        with contextlib.suppress(psutil.Error):
            total += sum(psutil.Process(worker.pid).cpu_times()[:2])
    return total


def states(workers: Sequence[BaseProcess]) -> str:
    """The state of every process as the system calls it, as in "process 71: stopped, process 72: sleeping"."""
    found = []
    for worker in workers:
        with contextlib.suppress(psutil.Error):
            found.append(f"process {worker.pid}: {psutil.Process(worker.pid).status()}")
    return ", ".join(found) or "no process is left"


def kill(workers: Sequence[BaseProcess]) -> None:
    """End processes at once, also those that are stopped, and wait for their end."""
    for worker in workers:
        with contextlib.suppress(ValueError, OSError):  # already closed, or ended
            worker.kill()
    for worker in workers:
        with contextlib.suppress(ValueError, AssertionError):
            worker.join(SECONDS_TO_END)
