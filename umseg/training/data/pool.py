"""The running workers that prepare batches: waits for them, which have an end, and why one of them is gone."""

from __future__ import annotations

import logging
import multiprocessing
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Generic, TypeVar

from torch.utils.data import DataLoader

from umseg.common.errors import UserError
from umseg.common.memory import available_memory
from umseg.common.processes.patience import Patience
from umseg.common.processes.workers import Board, End, deaf_to_interrupts, kill, states, unexpected_ends
from umseg.common.text import counted, duration, few

log = logging.getLogger(__name__)

SHARED_MEMORY = Path("/dev/shm")
"""The folder that holds shared memory on Linux."""
SECONDS_BETWEEN_LOOKS = 1.0
"""Time after which the training process looks again for signals and dead workers while it waits for a batch."""
SECONDS_AFTER_STOP = 5.0
"""Time for which training still waits for a batch after it was asked to stop."""
LONGEST_WAIT = 600.0
"""Seconds without a batch after which training gives up."""

MessageT = TypeVar("MessageT")


@dataclass(frozen=True)
class Pool(Generic[MessageT]):
    """The running loader.

    Attributes:
        batches: Iterator over the messages of the workers.
        workers: The worker processes.
        board: What they work on.
    """

    batches: Iterator[MessageT]
    workers: tuple[BaseProcess, ...]
    board: Board

    @classmethod
    def start(cls, loader: DataLoader[MessageT], board: Board) -> Pool[MessageT]:
        """Start the workers without the handler that tells torch of a worker's death.

        That handler raises wherever the main thread happens to be, mostly inside the network. Without it the loss of a
        worker is noticed when the next batch is requested, where it can be explained.
        """
        others = set(multiprocessing.active_children())
        listens = hasattr(signal, "SIGCHLD") and threading.current_thread() is threading.main_thread()
        handler = signal.getsignal(signal.SIGCHLD) if listens else None
        with deaf_to_interrupts():
            batches = iter(loader)
        if listens:
            signal.signal(signal.SIGCHLD, handler or signal.SIG_DFL)
        return cls(batches, tuple(set(multiprocessing.active_children()) - others), board)

    def next(self, stop: Callable[[], object]) -> MessageT | Exception | None:
        """The next batch, the error that came in its place, or None at the end.

        The message of a worker's error contains the worker's traceback; the loader's would keep the loader alive.
        """
        patience = Patience()
        asked: float | None = None
        while True:
            with interrupts_later():
                answer = self._look()
            if answer is not _NOTHING:
                return answer  # type: ignore[return-value]
            asked = (asked or time.monotonic()) if stop() else None
            if asked is not None and time.monotonic() - asked > SECONDS_AFTER_STOP:
                return self._given_up(NoBatchError())
            if patience.due():
                log.warning("Still waiting for a training batch (%s): %s.", duration(patience.waited), self._where())
            if patience.waited > LONGEST_WAIT:
                return self._given_up(self._stalled(patience.waited))

    def _look(self) -> MessageT | Exception | object | None:
        try:
            return next(self.batches)
        except StopIteration:
            return None
        except Exception as error:
            if "DataLoader timed out" in str(error):
                return _NOTHING
            if "DataLoader worker" in str(error) and "exited unexpectedly" in str(error):
                return self.lost()
            return error.with_traceback(None)

    def _given_up(self, error: Exception) -> Exception:
        """End the workers, for the loader would wait for each of them."""
        kill(self.workers)
        return error

    def _where(self) -> str:
        work = few(map(str, self.board.read()))
        return f"at work on case {work}; {states(self.workers)}" if work else states(self.workers)

    def _stalled(self, waited: float) -> UserError:
        return UserError(
            f"No training batch has come for {duration(waited)}.",
            found=self._where(),
            remedy="Check that the disk or network share answers and that nobody has stopped the processes. The same "
            "command resumes the run from its last checkpoint.",
        )

    def lost(self) -> UserError:
        """The error that explains why workers have ended too early."""
        ends = unexpected_ends(self.workers, self.board)
        told = ", ".join(str(end) for end in ends).replace(", ended", ",")
        facts = [f"{len(ends)} of {counted(len(self.workers), 'worker')} {told}" if ends else "no exit code"]
        if (largest := largest_child()) is not None:
            facts.append(f"a process of this program took up to {largest / 1e9:.2f} GB")
        facts.append(f"{available_memory() / 1e9:.1f} GB of memory are free without it")
        cause, remedy = _cause(ends)
        return UserError(
            "A worker process that prepares training batches is gone.",
            found="; ".join([*facts, cause]),
            remedy=remedy,
        )


_NOTHING = object()
"""Stands for a batch that is not there yet."""


class NoBatchError(Exception):
    """Training was asked to stop while it waited for a batch."""


def _cause(ends: Sequence[End]) -> tuple[str, str]:
    """Why workers may have ended, and what the user can do."""
    again = "Run the same command again, which resumes the run from its last checkpoint"
    signals = {end.signal_name for end in ends}
    cases = sorted({end.case for end in ends if end.case})
    if "SIGBUS" in signals:
        free = f" ({shutil.disk_usage(SHARED_MEMORY).free / 1e9:.2f} GB free)" if SHARED_MEMORY.is_dir() else ""
        return (
            "a worker gets this signal when a file that it reads is cut or cannot be read from the disk, or when the "
            f"shared memory, {SHARED_MEMORY}, is full{free}",
            "Run `umseg plan` again, which checks the preprocessed cases and repairs them; if the shared memory is "
            "small, enlarge it (docker run --shm-size 8g) or train with --workers 0, which does not use it.",
        )
    if "SIGKILL" in signals:
        return (
            "the operating system kills processes when memory runs out",
            f"{again}; fewer workers need less memory: --workers 1, or --workers 0 for none.",
        )
    if any(end.code > 0 for end in ends):
        return (
            "its own message is printed above",
            'A script must call train() under `if __name__ == "__main__":`, or train with --workers 0.',
        )
    if cases and signals & {"SIGSEGV", "SIGFPE", "SIGILL", "SIGABRT"}:
        return (
            "it crashed",
            f"{again}; if the same case is named again, run `umseg plan`, which checks and repairs preprocessed "
            "cases, or train with --workers 0, which shows where it crashes.",
        )
    return "somebody ended it, or it crashed", f"{again}; if it happens again, train with --workers 0."


@contextmanager
def interrupts_later() -> Iterator[None]:
    """Raise KeyboardInterrupt at the end if Ctrl-C was pressed meanwhile; a second Ctrl-C raises it at once.

    An interrupt inside the loader's queue may leave a lock taken, on which the program would wait for ever at its end.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    interrupted = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if interrupted:
        raise KeyboardInterrupt


def largest_child() -> int | None:
    """Bytes of memory that the largest of the ended child processes took; None on Windows, which does not record it.

    psutil knows only processes that are still running.
    """
    try:
        import resource
    except ImportError:
        return None
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024
