"""Threads that run independent pieces of numba work, as many as torch uses.

The kernels release the interpreter lock, so that plain Python threads suffice. Unlike numba's own threading layers they
may be used from several threads at once, survive a fork, and need no second OpenMP runtime besides torch's.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

import torch

_pools: dict[int, ThreadPoolExecutor] = {}

if hasattr(os, "register_at_fork"):
    # A child process inherits the pool but not its threads.
    os.register_at_fork(after_in_child=_pools.clear)


def run_tasks(make_worker: Callable[[], Callable[[int], None]], count: int) -> None:
    """Call ``worker(i)`` for i = 0 .. count - 1, each once, in no particular order.

    Args:
        make_worker: Function that is called once per thread; the worker that it returns may own scratch memory.
        count: Number of pieces of work.
    """
    threads = min(torch.get_num_threads(), count)
    tickets = itertools.count()

    def work() -> None:
        worker = make_worker()
        # next() on a count is atomic: every ticket is drawn by one thread only.
        while (ticket := next(tickets)) < count:
            worker(ticket)

    helpers = [_pool(threads - 1).submit(work) for _ in range(threads - 1)]
    try:
        work()
    finally:
        wait(helpers)
    for helper in helpers:
        helper.result()


def _pool(size: int) -> ThreadPoolExecutor:
    pool = _pools.get(size)
    if pool is None:
        pool = _pools.setdefault(size, ThreadPoolExecutor(size, thread_name_prefix="umseg"))
    return pool
