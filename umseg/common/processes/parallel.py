"""Work on one case after another, in this process or in a pool of worker processes."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures import wait as wait_for
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from umseg.common.errors import UserError
from umseg.common.memory import available_memory, is_out_of_memory, memory_text, out_of_memory
from umseg.common.processes.patience import Patience, said_when_slow
from umseg.common.processes.progress import Progress
from umseg.common.processes.workers import (
    SECONDS_TO_END,
    Board,
    cpu_seconds,
    deaf_to_interrupts,
    end_with_parent,
    join_board,
    kill,
    note_case,
    states,
    take_row,
    unexpected_ends,
    wait_for_ends,
)
from umseg.common.text import counted, duration, few

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LOOKS = 1.0
"""Time after which the parent looks again whether its workers are at work."""
LONGEST_IDLE = 600.0
"""Seconds after which a pool gives up whose workers compute nothing, such as on a disk that does not answer."""
LONGEST_CASE = 6 * 3600.0
"""Seconds after which a pool gives up that finishes no case."""
SECONDS_TO_FINISH = 30.0
"""Time in which workers may finish their cases after an error in another one."""

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

# Numbers of threads, which OpenMP and the libraries of Apple, Intel and OpenBLAS read once, when they are loaded.
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def default_workers() -> int:
    """Number of worker processes by default: one per available core, at most eight."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return min(cores, 8)


def map_cases(
    function: Callable[[ItemT], ResultT],
    items: Sequence[ItemT],
    names: Sequence[str],
    *,
    workers: int,
    title: str,
    quiet: bool = False,
) -> Iterator[ResultT]:
    """Apply ``function`` to every item and yield the results in the order of the items.

    Every worker process computes on one thread, because the processes share the cores.

    Args:
        function: A module-level function or a ``functools.partial`` of one (it is sent to worker processes).
        items: Arguments of the function, one per case.
        names: Names of the cases, one per item, for messages.
        workers: Number of processes; 0 runs everything in this process.
        title: Label of the progress bar.
        quiet: Whether to show no progress.

    Raises:
        UserError: ``function`` raised it, or a worker process was killed (usually because memory ran out), crashed, or
            hangs.
        RuntimeError: ``function`` raised another exception. The message names the case and the exception; the printed
            chain shows the worker's traceback.
        ValueError: The numbers of names and items differ.
    """
    if len(names) != len(items):
        raise ValueError(f"{len(names)} names for {len(items)} items")
    results = (
        _serial(function, items, names, title) if workers == 0 else _pooled(function, items, names, workers, title)
    )
    with contextlib.closing(results), Progress(len(items), title, quiet=quiet) as progress:
        for result in results:
            progress.update()
            yield result


def _serial(
    function: Callable[[ItemT], ResultT], items: Sequence[ItemT], names: Sequence[str], title: str
) -> Generator[ResultT, None, None]:
    for item, name in zip(items, names, strict=True):
        try:
            with said_when_slow(log, f"{title[:1].lower()}{title[1:]}: case {name}"):
                result = function(item)
        except UserError:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise out_of_memory(error, f"Work on case {name}") from error
            raise RuntimeError(f"case {name}: {type(error).__name__}: {error}") from error
        yield result


def _pooled(
    function: Callable[[ItemT], ResultT], items: Sequence[ItemT], names: Sequence[str], workers: int, title: str
) -> Generator[ResultT, None, None]:
    # A bounded number of results in flight keeps memory flat when the consumer is slower than the workers.
    ahead = 2 * workers
    pending: deque[Future[ResultT]] = deque()
    with _Pool.started(min(workers, max(len(items), 1)), ahead) as pool:
        for position, name in enumerate(names):
            try:
                for number in range(position + len(pending), min(position + ahead, len(items))):
                    pending.append(pool.submit(_call, function, items[number], names[number], number % ahead))
                pool.wait(pending, title)
                result = pending.popleft().result()
            except UserError:
                raise
            except BrokenProcessPool as error:
                raise pool.lost() from error
            except Exception as error:
                raise RuntimeError(f"case {name}: {error}") from error
            yield result


@dataclass
class _Pool:
    """Worker processes, and what they work on.

    Attributes:
        executor: The pool of the standard library.
        board: What the workers work on.
        size: Number of workers.
        workers: The processes that have been started so far.
        grace: Seconds in which the workers may finish the cases that they are at, after an error in another one.
    """

    executor: ProcessPoolExecutor
    board: Board
    size: int
    workers: list[BaseProcess] = field(default_factory=list)
    grace: float = SECONDS_TO_FINISH

    @classmethod
    @contextlib.contextmanager
    def started(cls, size: int, rows: int) -> Iterator[_Pool]:
        """A pool that has ended when the block has, whatever its workers do."""
        board = Board(rows)
        # spawn behaves alike on every platform and is safe after threads (numba, torch) were started in this process.
        context = multiprocessing.get_context("spawn")
        executor = ProcessPoolExecutor(size, mp_context=context, initializer=_begin, initargs=(board,))
        pool = cls(executor, board, size)
        try:
            yield pool
        except KeyboardInterrupt:
            pool.grace = SECONDS_TO_END
            raise
        finally:
            pool._close()

    def submit(self, function: Callable[..., ResultT], *arguments: Any) -> Future[ResultT]:
        """Let a worker call a function; this starts the worker if there is none to spare."""
        others = set(multiprocessing.active_children())
        with _one_thread_each(), deaf_to_interrupts():
            future = self.executor.submit(function, *arguments)
        self.workers += set(multiprocessing.active_children()) - others
        return future

    def wait(self, pending: Sequence[Future[Any]], title: str) -> None:
        """Wait for the first result, and say every now and then which cases the workers are at.

        Raises:
            UserError: No worker has computed anything for 10 minutes, or no case was finished in 6 hours.
        """
        slow, idle = Patience(), Patience()
        finished, computed = -1, -1.0
        while not wait_for([pending[0]], SECONDS_BETWEEN_LOOKS).done:
            if finished != (finished := sum(future.done() for future in pending)):
                slow.restart()
            if computed + 0.01 < (now := cpu_seconds(self.workers)):
                computed = now
                idle.restart()
            if slow.due():
                cases = few(map(str, self.board.read())) or "no case: the workers are starting"
                log.info("Still %s%s: %s.", title[:1].lower(), title[1:], cases)
            if idle.waited > LONGEST_IDLE or slow.waited > LONGEST_CASE:
                raise self._stalled(idle.waited, slow.waited)

    def lost(self) -> UserError:
        """The error that explains why a worker has ended, and names its case."""
        # The pool of the standard library ends all workers after the first one.
        wait_for_ends(self.workers)
        ends = unexpected_ends(self.workers, self.board)
        told = "; ".join(str(end) for end in ends) or "it left no exit code"
        signals = {end.signal_name for end in ends}
        named = [end.case for end in ends if end.case]
        cases = f" while it worked on case {named[0]}" if len(named) == 1 else ""
        fewer = f"--workers {max(self.size // 2, 1)}" if self.size > 1 else "--workers 0 (in this process)"
        if signals == {"SIGKILL"}:
            free = memory_text(available_memory())
            facts = f"The operating system kills processes when memory runs out; {free} are free now."
            remedy = f"Run again with fewer workers, e.g. {fewer}; if it happens again, look at that case."
        else:
            facts = "Damaged files make libraries crash."
            remedy = (
                "Check the files of that case, or leave the case out; --workers 0 works in this process and shows "
                "where it crashes."
            )
        return UserError(
            f"A worker process was killed{cases}." if "SIGKILL" in signals else f"A worker process crashed{cases}.",
            found=f"{counted(self.size, 'worker')}; one {told}. {facts}",
            remedy=remedy,
        )

    def _stalled(self, idle: float, slow: float) -> UserError:
        work, processes = self.board.read(), states(self.workers)
        self.grace = 0.0
        return UserError(
            "The worker processes make no progress.",
            found=f"{'no computation' if idle > LONGEST_IDLE else 'no case finished'} in "
            f"{duration(idle if idle > LONGEST_IDLE else slow)}; cases at work: {few(map(str, work)) or 'none'}; "
            + processes,
            remedy="Check that the disk or network share answers and that nobody has stopped the processes; the same "
            "command can be given again.",
        )

    def _close(self) -> None:
        """End the workers."""
        timer = threading.Timer(self.grace, kill, [self.workers])
        timer.daemon = True
        timer.start()
        try:
            self.executor.shutdown(wait=True, cancel_futures=True)
        except BaseException:
            kill(self.workers)
            raise
        finally:
            timer.cancel()


def _begin(board: Board) -> None:
    """Prepare a worker."""
    # Ctrl-C reaches all processes of a terminal; the parent ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    join_board(board)


def _call(function: Callable[[ItemT], ResultT], item: ItemT, name: str, row: int) -> ResultT:
    """In a worker: raise only exceptions that can be sent back; others break the pool like the end of a worker."""
    take_row(row)
    note_case(name)
    try:
        return function(item)
    except UserError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise out_of_memory(error, f"Work on case {name}") from error
        raise RuntimeError(f"{type(error).__name__}: {error}") from error
    finally:
        note_case(None)


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let processes that are started inside use one OpenMP and BLAS thread.

    Submitting work starts a process, which inherits the environment. An initializer in the worker would be too late:
    spawning first imports the main module, and with it numpy if the user's script does so.
    """
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
