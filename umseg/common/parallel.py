"""The one seam for per-case work: this process, or a pool of worker processes."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import TypeVar

from tqdm import tqdm

from umseg.common.errors import UserError

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

# Who reads them: OpenMP and Apple's, Intel's and OpenBLAS's libraries, once, when they are loaded.
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def default_workers() -> int:
    """Number of worker processes when the user names none: one per available core, eight at most."""
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

    A worker process computes on one thread: the processes share the cores already.

    Args:
        function: A module-level function or a ``functools.partial`` of one (it is sent to worker processes).
        items: One entry per case.
        names: The case's name for each item, used in messages.
        workers: Number of processes; 0 runs everything in this process.
        title: Label of the progress bar.
        quiet: No progress bar.

    Raises:
        UserError: As raised by ``function``; or a worker process was killed (usually: out of memory).
        RuntimeError: Any other exception of ``function``. The message names the case and the exception; the printed
            chain shows the worker's own traceback.
        ValueError: Not one name per item.
    """
    if len(names) != len(items):
        raise ValueError(f"{len(names)} names for {len(items)} items")
    results = _serial(function, items, names) if workers == 0 else _pooled(function, items, names, workers)
    with tqdm(total=len(items), desc=title, unit="case", disable=quiet) as bar:
        for result in results:
            bar.update()
            yield result


def _serial(function: Callable[[ItemT], ResultT], items: Sequence[ItemT], names: Sequence[str]) -> Iterator[ResultT]:
    for item, name in zip(items, names, strict=True):
        try:
            yield function(item)
        except UserError:
            raise
        except Exception as error:
            raise RuntimeError(f"case {name}: {type(error).__name__}: {error}") from error


def _pooled(
    function: Callable[[ItemT], ResultT], items: Sequence[ItemT], names: Sequence[str], workers: int
) -> Iterator[ResultT]:
    # spawn: the same on every platform, and safe after threads (numba, torch) were started in this process.
    pool = ProcessPoolExecutor(
        min(workers, max(len(items), 1)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_end_with_parent,
    )
    # A bounded number of results in flight keeps memory flat when the consumer is slower than the workers.
    ahead = 2 * workers
    pending: deque[Future[ResultT]] = deque()
    work = partial(_call, function)
    try:
        for position, name in enumerate(names):
            try:
                for item in items[position + len(pending) : position + ahead]:
                    with _one_thread_each():
                        pending.append(pool.submit(work, item))
                result = pending.popleft().result()
            except UserError:
                raise
            except BrokenProcessPool as error:
                raise UserError(
                    f"A worker process was killed while case {name} or one of the next {ahead - 1} was at work.",
                    found=f"{workers} workers; the operating system kills processes when memory runs out",
                    remedy=f"Run again with fewer workers, e.g. --workers {workers // 2} (0 works in this process).",
                ) from error
            except Exception as error:
                raise RuntimeError(f"case {name}: {error}") from error
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _end_with_parent() -> None:
    """In a worker: end as soon as the process that started it has, even if that was killed.

    Else the worker would finish what it was given, write results into the next run's, and then wait for ever.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, name="end with parent", daemon=True).start()


def _call(function: Callable[[ItemT], ResultT], item: ItemT) -> ResultT:
    """In a worker: raise only what can surely be sent back; anything else breaks the pool as if it had been killed."""
    try:
        return function(item)
    except UserError:
        raise
    except Exception as error:
        raise RuntimeError(f"{type(error).__name__}: {error}") from error


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes started inside use one OpenMP and BLAS thread.

    Submitting work starts a process, which inherits the environment. An initializer inside the worker would come too
    late: spawning imports the main module first, and with it numpy wherever a user's script does so.
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
