"""The one seam for per-case work: this process, or a pool of worker processes."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from tqdm import tqdm

from umseg.common.errors import UserError

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


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

    Args:
        function: A module-level function or a ``functools.partial`` of one (it is sent to worker processes).
        items: One entry per case.
        names: The case's name for each item, used in messages.
        workers: Number of processes; 0 runs everything in this process.
        title: Label of the progress bar.
        quiet: No progress bar.

    Raises:
        UserError: As raised by ``function``; or a worker process was killed (usually: out of memory).
        Exception: Any other exception of ``function``, with the worker's own traceback as its cause and the
            case's name added as a note in the message of the chained error.
    """
    results = _serial(function, items, names) if workers == 0 else _pooled(function, items, names, workers)
    with tqdm(total=len(items), desc=title, unit="case", disable=quiet) as bar:
        for result in results:
            bar.update()
            yield result


def _serial(
    function: Callable[[ItemT], ResultT], items: Sequence[ItemT], names: Sequence[str]
) -> Iterator[ResultT]:
    for item, name in zip(items, names, strict=True):
        try:
            yield function(item)
        except UserError:
            raise
        except Exception as error:
            raise RuntimeError(f"case {name}: {error}") from error


def _pooled(
    function: Callable[[ItemT], ResultT], items: Sequence[ItemT], names: Sequence[str], workers: int
) -> Iterator[ResultT]:
    # spawn: the same on every platform, and safe after threads (numba, torch) were started in this process.
    pool = ProcessPoolExecutor(min(workers, max(len(items), 1)), mp_context=multiprocessing.get_context("spawn"))
    # A bounded number of results in flight keeps memory flat when the consumer is slower than the workers.
    ahead = 2 * workers
    pending: list[Future[ResultT]] = []
    position = 0
    try:
        for name in names:
            while position < len(items) and len(pending) < ahead:
                pending.append(pool.submit(function, items[position]))
                position += 1
            yield _result(pending.pop(0), name, workers)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _result(future: Future[ResultT], name: str, workers: int) -> ResultT:
    try:
        return future.result()
    except UserError:
        raise
    except BrokenProcessPool as error:
        raise UserError(
            f"A worker process was killed while case {name} or one of the next {2 * workers - 1} was at work.",
            found=f"{workers} workers; the operating system kills processes when memory runs out",
            remedy=f"Run again with fewer workers, e.g. --workers {workers // 2} (0 works in this process).",
        ) from error
    except Exception as error:
        raise RuntimeError(f"case {name}: {error}") from error
