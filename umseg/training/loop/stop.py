"""Stopping a training on request: Ctrl-C, SIGTERM (as schedulers send it), or a time limit."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """A request to stop; as a context manager it listens to signals.

    The first signal is noted, so that the iteration can be finished and saved. After it the earlier handlers are
    restored: a second Ctrl-C interrupts at once.

    Args:
        max_seconds: Time in seconds after which training stops, counted from the creation of this object.
        patient: Whether later signals are ignored, because ``torchrun`` repeats the signal that the terminal has
            already sent to all processes.
    """

    def __init__(self, max_seconds: float = math.inf, patient: bool = False) -> None:
        self.patient = patient
        self.deadline = time.monotonic() + max_seconds
        self.reason: str | None = None
        self._earlier: dict[int, Any] = {}

    def __bool__(self) -> bool:
        if self.reason is None and time.monotonic() >= self.deadline:
            self.reason = "time limit"
        return self.reason is not None

    def __enter__(self) -> StopRequest:
        # Python lets only the main thread handle signals.
        if threading.current_thread() is threading.main_thread():
            self._earlier = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.reason = signal.Signals(number).name
        if not self.patient:
            self._restore()

    def _restore(self) -> None:
        earlier, self._earlier = self._earlier, {}
        for number, handler in earlier.items():
            # None stands for a handler that was not set from Python, and cannot be set from it.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Inside the block SIGTERM raises KeyboardInterrupt, as Ctrl-C does: for work that keeps what is finished."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    earlier = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if earlier is None else earlier)
