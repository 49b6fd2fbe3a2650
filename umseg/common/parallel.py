"""Work on one case after another, in this process or in a pool of worker processes."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from tqdm import tqdm

from umseg.common.errors import UserError
from umseg.common.memory import is_out_of_memory, out_of_memory

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
        quiet: Whether to show no progress bar.

    Raises:
        UserError: ``function`` raised it, or a worker process was killed (usually because memory ran out).
        RuntimeError: ``function`` raised another exception. The message names the case and the exception; the printed
            chain shows the worker's traceback.
        ValueError: The numbers of names and items differ.
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
            if is_out_of_memory(error):
                raise out_of_memory(error, f"Work on case {name}") from error
            raise RuntimeError(f"case {name}: {type(error).__name__}: {error}") from error


def _pooled(
    function: Callable[[ItemT], ResultT], items: Sequence[ItemT], names: Sequence[str], workers: int
) -> Iterator[ResultT]:
    # spawn behaves alike on every platform and is safe after threads (numba, torch) were started in this process.
    pool = ProcessPoolExecutor(
        min(workers, max(len(items), 1)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_end_with_parent,
    )
    # A bounded number of results in flight keeps memory flat when the consumer is slower than the workers.
    ahead = 2 * workers
    pending: deque[Future[ResultT]] = deque()
    try:
        for position, name in enumerate(names):
            try:
                first = position + len(pending)
                for item, of in zip(items[first : position + ahead], names[first : position + ahead], strict=True):
                    with _one_thread_each():
                        pending.append(pool.submit(_call, function, item, of))
                result = pending.popleft().result()
            except UserError:
                raise
            except BrokenProcessPool as error:
                raise UserError(
                    f"A worker process was killed while it worked on case {name} or one of the next {ahead - 1}.",
                    found=f"{workers} workers. The operating system kills processes when memory runs out.",
                    remedy=f"Run again with fewer workers, e.g. --workers {workers // 2} (0 works in this process).",
                ) from error
            except Exception as error:
                raise RuntimeError(f"case {name}: {error}") from error
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _end_with_parent() -> None:
    """In a worker: exit as soon as the parent process has ended, even if the parent was killed.

    Otherwise the worker would finish its items, write results among those of the next run, and then wait for ever.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, name="end with parent", daemon=True).start()


def _call(function: Callable[[ItemT], ResultT], item: ItemT, name: str) -> ResultT:
    """In a worker: raise only exceptions that can be sent back; others break the pool like the end of a worker."""
    try:
        return function(item)
    except UserError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise out_of_memory(error, f"Work on case {name}") from error
        raise RuntimeError(f"{type(error).__name__}: {error}") from error


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
