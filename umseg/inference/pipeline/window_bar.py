"""The progress within a case."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any

from tqdm import tqdm

from umseg.common.processes.patience import said_when_slow

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""A function that is told how many windows of an image are done, and how many there are."""

_BAR_AFTER = 3.0
"""Seconds that the windows of a case take before they get a bar of their own."""


@contextlib.contextmanager
def window_bar(case: str, quiet: bool) -> Iterator[Progress]:
    """A bar over the windows of a case that takes long, on a terminal, and a message if none is finished for long.

    Args:
        case: Name of the case.
        quiet: Whether to show no bar.

    Yields:
        The function to be told of the windows.
    """
    bars: list[tqdm[Any]] = []
    where = f"segmenting case {case}"

    def progress(done: int, total: int) -> None:
        nonlocal where
        where = f"segmenting case {case}, window {min(done + 1, total):,} of {total:,}"
        patience.restart()
        # The stages of a cascade begin anew.
        if not bars or done < bars[-1].n:
            for bar in bars:
                bar.close()
            bars[:] = [
                tqdm(
                    total=total, desc=case, unit="window", leave=False, delay=_BAR_AFTER, position=1,
                    disable=quiet or None,
                )
            ]  # fmt: skip
        bars[-1].update(done - bars[-1].n)

    try:
        with said_when_slow(log, lambda: where) as patience:
            yield progress
    finally:
        for bar in bars:
            bar.close()
