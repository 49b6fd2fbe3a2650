"""The loop over cases: the next one is read while the network works on this one, and one that fails stops no other."""

from __future__ import annotations

import contextlib
import errno
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from numpy.typing import NDArray
from tqdm import tqdm

from umseg.common.errors import UserError
from umseg.common.processes.patience import said_when_slow
from umseg.common.processes.progress import Progress as CaseProgress
from umseg.dataset.dataset import Case
from umseg.dataset.io.grid import Geometry
from umseg.dataset.io.images import write_label

log = logging.getLogger(__name__)

PreparedT = TypeVar("PreparedT")
Progress = Callable[[int, int], None]
"""A function that is told how many windows of an image are done, and how many there are."""

_BAR_AFTER = 3.0
"""Seconds that the windows of a case take before they get a bar of their own."""
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
"""Errors of the output folder, on which no other case can be written either."""


@dataclass(frozen=True)
class Steps(Generic[PreparedT]):
    """What is done with a case.

    Attributes:
        prepare: Reads and preprocesses it; in another thread, while the network works.
        grid: The grid of the image that was prepared.
        segment: The label map of a prepared image.
        writing: A context in which its label map is written.
    """

    prepare: Callable[[Case], PreparedT]
    grid: Callable[[PreparedT], Geometry]
    segment: Callable[[PreparedT, Progress], NDArray[Any]]
    writing: Callable[[Case, Path], AbstractContextManager[None]]


@dataclass(frozen=True)
class Outcome(Generic[PreparedT]):
    """What became of a case.

    Attributes:
        case: The case.
        path: The file of its label map.
        prepared: The prepared image; None if that failed.
        error: Why there is no label map; None if there is one.
    """

    case: Case
    path: Path
    prepared: PreparedT | None
    error: Exception | None = None


def segment_cases(
    cases: Sequence[Case], targets: Sequence[Path], steps: Steps[PreparedT], quiet: bool
) -> Iterator[Outcome[PreparedT]]:
    """Segment one case after the other, and write the label maps.

    Args:
        cases: The cases.
        targets: The file of each label map.
        steps: What is done with a case.
        quiet: Whether to show no progress bars.

    Raises:
        UserError: The output folder can no longer be written, e.g. because the disk is full.
    """
    with (
        CaseProgress(len(cases), "Predicting", quiet=quiet) as bar,
        _read_ahead(cases, steps.prepare) as reading,
    ):
        for case, path, future in zip(cases, targets, reading, strict=True):
            prepared: PreparedT | None = None
            failure: Exception | None = None
            try:
                with said_when_slow(log, f"reading case {case.id}"):
                    prepared = future.result()
                with _window_bar(case.id, quiet) as progress:
                    label_map = steps.segment(prepared, progress)
                with steps.writing(case, path):
                    write_label(path, label_map, steps.grid(prepared))
            except UserError as error:
                if getattr(error.__cause__, "errno", None) in _NO_ROOM and error.file == str(path):
                    raise
                failure = error
            except Exception as error:  # whatever it is, it concerns this case, and is reported with it
                log.debug("Case %s", case.id, exc_info=True)
                failure = error
            bar.update()
            yield Outcome(case, path, prepared, failure)


@contextlib.contextmanager
def _read_ahead(cases: Sequence[Case], prepare: Callable[[Case], PreparedT]) -> Iterator[Iterator[Future[PreparedT]]]:
    """The results of ``prepare``, of which one more than is asked for is begun."""
    with ThreadPoolExecutor(1) as reader:

        def results() -> Iterator[Future[PreparedT]]:
            pending = [reader.submit(prepare, case) for case in cases[:1]]
            for number in range(len(cases)):
                current = pending.pop()
                # Waited for here, so that no more than one case is read ahead.
                current.exception()
                pending.extend(reader.submit(prepare, following) for following in cases[number + 1 : number + 2])
                yield current

        try:
            yield results()
        finally:
            reader.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _window_bar(case: str, quiet: bool) -> Iterator[Progress]:
    """A bar over the windows of a case that takes long, on a terminal, and a message if none is finished for long."""
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
