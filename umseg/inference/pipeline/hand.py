"""A thread that works on one call after the other."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")
_Call = tuple["Future[Any]", Callable[[], Any]]


class Hand:
    """A thread that works on one call after the other, and that does not keep the interpreter from ending.

    Args:
        name: Name of the thread.
    """

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def submit(self, call: Callable[[], ResultT]) -> Future[ResultT]:
        """Have something done after everything that was submitted before."""
        future: Future[ResultT] = Future()
        self._calls.put((future, call))
        return future

    def close(self, wait: bool = True) -> None:
        """Let the thread end after the calls that were submitted.

        Args:
            wait: Whether to wait for that.
        """
        self._calls.put(None)
        if wait:
            self._thread.join()

    def _work(self) -> None:
        while (next_call := self._calls.get()) is not None:
            future, call = next_call
            # Whatever happens is the future's, so that nobody waits for ever.
            try:
                future.set_result(call())
            except BaseException as error:
                future.set_exception(error)
            # What a call returns may be large, and belongs to whoever asked for it.
            del next_call, future, call
