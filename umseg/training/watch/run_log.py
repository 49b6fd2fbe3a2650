"""``log.txt`` of a run: what it said, for reading afterwards."""

from __future__ import annotations

import contextlib
import logging
import time
from pathlib import Path
from types import TracebackType

from umseg.common.errors import UserError

log = logging.getLogger(__name__)

_WRITTEN = "in_run_log"


class RunLog:
    """Says what a run does, on the console and in ``log.txt``; as a context manager it also notes warnings and errors.

    The file is written whatever the console shows, and a resumed run adds to it.

    Args:
        path: The file, whose folder exists; None writes none.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._handler = _Noting(self)

    def __call__(self, text: str) -> None:
        """Say one thing that happened; it may have several lines."""
        log.info("%s", text, extra={_WRITTEN: True})
        self.note(text)

    def note(self, text: str) -> None:
        """Write to the file only."""
        if self.path is None:
            return
        first, *rest = text.splitlines() or [""]
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        lines = [f"{stamp}  {first}", *(f"{'':{len(stamp)}}  {line}" for line in rest)]
        # A disk that is full ends the training at its next checkpoint, with the right message.
        with contextlib.suppress(OSError), self.path.open("a", encoding="utf-8") as file:
            file.write("".join(line.rstrip() + "\n" for line in lines))

    def __enter__(self) -> RunLog:
        logging.getLogger("umseg").addHandler(self._handler)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        logging.getLogger("umseg").removeHandler(self._handler)
        if error is not None:
            said = f"error: {error}" if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            self.note("interrupted" if isinstance(error, KeyboardInterrupt) else said)


class _Noting(logging.Handler):
    """Notes what other parts of umseg log meanwhile."""

    def __init__(self, run_log: RunLog) -> None:
        super().__init__(logging.INFO)
        self._run_log = run_log

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record's message."""
        if not getattr(record, _WRITTEN, False):
            self._run_log.note(record.getMessage())
