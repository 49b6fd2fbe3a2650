"""Progress of long work: a bar on a terminal, and now and then a line where the output goes to a file."""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType

from tqdm import tqdm

from umseg.common.text import counted, duration

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 60.0
"""Time between two lines about one piece of work, where there is no bar."""
SECONDS_TO_MEASURE = 5.0
"""Time for which work is measured before its duration is stated."""
LONG = 60.0
"""Expected duration in seconds from which it is stated."""


def has_terminal() -> bool:
    """Whether messages are read on a terminal, on which a bar can be drawn."""
    return bool(sys.stderr is not None and sys.stderr.isatty())


class Progress:
    """Counts finished pieces of work.

    A bar shows the time that is left. Without one, a line says it every minute, and another one when all is done.

    Args:
        total: Number of pieces.
        title: What is done, e.g. "Preprocessing".
        unit: One piece.
        quiet: Whether nothing is shown.
    """

    def __init__(self, total: int, title: str, unit: str = "case", quiet: bool = False) -> None:
        self.total, self.title, self.unit, self.quiet = total, title, unit, quiet
        self.done = 0
        self._bar: tqdm[None] = tqdm(total=total, desc=title, unit=unit, disable=quiet or not has_terminal())
        self._start = self._said = time.monotonic()
        self._first = self._start
        self._stated = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        if self._stated and error is None and self.done == self.total:
            log.info("%s: %s in %s.", self.title, counted(self.total, self.unit), duration(self._passed))

    @property
    def _passed(self) -> float:
        return time.monotonic() - self._start

    def update(self) -> None:
        """Note that one more piece is finished."""
        self.done += 1
        self._bar.update()
        if self.done == 1:
            # Workers start before the first piece is finished, which says nothing of the others.
            self._first = time.monotonic()
        if self.quiet or self.done == self.total:
            return
        measured = time.monotonic() - self._first
        left = measured / max(self.done - 1, 1) * (self.total - self.done)
        if not self._stated and measured >= SECONDS_TO_MEASURE and left > LONG:
            self._stated = True
            self._said = time.monotonic()
            log.info("%s %s: about %s.", self.title, counted(self.total, self.unit), duration(self._passed + left))
        elif self._bar.disable and time.monotonic() - self._said >= SECONDS_BETWEEN_LINES:
            self._stated = True
            self._said = time.monotonic()
            done = f"{self.done:,} of {counted(self.total, self.unit)}"
            log.info("%s: %s, about %s to go.", self.title, done, duration(left))
