"""Messages about work that takes long, so that nobody has to guess whether a program still works."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from umseg.common.text import duration

FIRST_MESSAGE = 60.0
"""Seconds without progress after which a message says where the work stands; the next ones come at 2, 4, 8, ... times
that."""
LONGEST_PAUSE = 1800.0
"""Longest time in seconds between two such messages."""


class Patience:
    """The time without progress, and when a message about it is due.

    Args:
        first: Seconds until the first message.
    """

    def __init__(self, first: float = FIRST_MESSAGE) -> None:
        self.first = first
        self.restart()

    def restart(self) -> None:
        """Note that there was progress."""
        self._since = time.monotonic()
        self._next = self.first

    @property
    def waited(self) -> float:
        """Seconds since the last progress."""
        return time.monotonic() - self._since

    @property
    def until_due(self) -> float:
        """Seconds until the next message."""
        return max(self._next - self.waited, 0.0)

    def due(self) -> bool:
        """Whether a message is due; if so, it counts as given."""
        waited = self.waited
        if waited < self._next:
            return False
        while self._next <= waited:
            self._next += min(self._next, LONGEST_PAUSE)
        return True


@contextmanager
def said_when_slow(
    logger: logging.Logger, what: str | Callable[[], str], first: float = FIRST_MESSAGE
) -> Iterator[Patience]:
    """Log where the work stands while the block takes long, even if the block waits outside of Python.

    Args:
        logger: Logger of the message, "Still reading case_1 (2 min)."
        what: What the block does, such as "reading case_1", or a function that says it when it is needed; empty where
            another part of the program says it.
        first: Seconds until the first message.

    Yields:
        The patience, to be restarted when there is progress.
    """
    over = threading.Event()
    patience = Patience(first)

    def watch() -> None:
        # No longer than until the first message of work that begins meanwhile.
        while not over.wait(min(patience.until_due, first)):
            if patience.due():
                text = what if isinstance(what, str) else what()
                if text:
                    logger.info("Still %s (%s).", text, duration(patience.waited))

    thread = threading.Thread(target=watch, name="patience", daemon=True)
    thread.start()
    try:
        yield patience
    finally:
        over.set()
        thread.join()
