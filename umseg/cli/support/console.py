"""Texts on the terminal, without control characters and above the progress bars, and where the interpreter crashed."""

from __future__ import annotations

import contextlib
import faulthandler
import io
import logging
import sys

import typer

from umseg.common.text import visible


def show_crashes() -> None:
    """Print where the interpreter was when a library crashes it, which otherwise ends without a word."""
    with contextlib.suppress(AttributeError, ValueError, io.UnsupportedOperation):  # no console
        faulthandler.enable()


def show_messages(level: int) -> None:
    """Print log messages of umseg from a level up, and warnings of other packages."""
    root = logging.getLogger()
    if not root.handlers:
        handler = _AboveBars()
        handler.setFormatter(_Visible("%(message)s"))
        root.addHandler(handler)
    logging.getLogger("umseg").setLevel(level)


def say(text: str, err: bool = False) -> None:
    """Print a text, without what could send commands to the terminal, on stdout or stderr."""
    typer.echo(visible(text), err=err)


class _Visible(logging.Formatter):
    """Formats messages without what could send commands to the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """The text of a message."""
        return visible(super().format(record))


class _AboveBars(logging.StreamHandler):  # type: ignore[type-arg]
    """Prints messages to the present stderr; a progress bar is taken away meanwhile and drawn again below."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a message."""
        self.stream = sys.stderr
        # Without tqdm there is no bar, and it takes time to import.
        bars = sys.modules.get("tqdm")
        with bars.tqdm.external_write_mode(file=sys.stderr) if bars is not None else contextlib.nullcontext():
            super().emit(record)
