"""Three stages that overlap: the next case is read and the last one written while the network works on this one.

Reading and writing have a thread each, the network has the caller's. Each stage has one case, or one group of small
pictures, which go through the network together.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Generic, TypeVar

from umseg.common.memory import is_out_of_memory
from umseg.inference.pipeline.hand import Hand

log = logging.getLogger(__name__)

MOST_TOGETHER = 32
"""Largest number of small pictures that go through the stages together."""
_POLL = 1.0
"""Seconds after which a wait for a thread begins anew, so that Ctrl-C is heard on every platform."""

ItemT = TypeVar("ItemT")
PreparedT = TypeVar("PreparedT")
ResultT = TypeVar("ResultT")
T = TypeVar("T")


class StoppedError(Exception):
    """The work has been stopped in another thread."""


class Stop:
    """A wish to stop, which every stage looks at."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Wish to stop."""
        self._event.set()

    def is_set(self) -> bool:
        """Whether somebody wishes to stop."""
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait for some time, but no longer than until somebody wishes to stop; returns whether somebody does."""
        return self._event.wait(seconds)

    def check(self) -> None:
        """Raise ``StoppedError`` if somebody wishes to stop."""
        if self._event.is_set():
            raise StoppedError


@dataclass(frozen=True)
class Stages(Generic[ItemT, PreparedT, ResultT]):
    """What is done with an item, such as a case.

    Attributes:
        read: Reads and prepares it; in a thread, while the network works.
        is_small: Whether it may go through the network with others.
        fits_beside: Whether it may be read while the network works on another one.
        compute: Takes what was prepared of several items, and returns a result for each; in the caller's thread.
        write: Finishes and writes a group of results, and reports each; in a thread, while the network works. An error
            that it raises ends everything.
        failed: Reports an item of which reading or the network failed; in any thread.
    """

    read: Callable[[ItemT], PreparedT]
    is_small: Callable[[PreparedT], bool]
    fits_beside: Callable[[ItemT], bool]
    compute: Callable[[Sequence[tuple[ItemT, PreparedT]]], Sequence[ResultT]]
    write: Callable[[Sequence[tuple[ItemT, ResultT]]], None]
    failed: Callable[[ItemT, Exception], None]


def run_stages(items: Iterator[ItemT], stages: Stages[ItemT, PreparedT, ResultT], stop: Stop) -> None:
    """Send items through the stages until there are no more.

    Args:
        items: The items; the iterator is advanced in the thread that reads, and may wait there.
        stages: What is done with them.
        stop: Set at the end, or before it where somebody wishes to stop; then what is at work is abandoned, except that
            a file that is being written is written.

    Raises:
        Exception: One that ``items`` or ``write`` raised.
    """
    source = _Source(items, stages, stop)
    reading, writing = Hand("reading"), Hand("writing")
    written: Future[None] = writing.submit(lambda: None)
    following = reading.submit(source.next_group)
    try:
        while True:
            source.network_is_idle(True)
            group = result_of(following)
            source.network_is_idle(False)
            if not group:
                break
            following = reading.submit(source.next_group)
            results = _compute(group, stages, stop)
            del group
            result_of(written)
            written = writing.submit(_writing(results, stages, stop))
            del results
        result_of(written)
    except StoppedError:
        # Somebody outside, who knows why, or a thread, whose error says so.
        result_of(written)
    finally:
        stop.set()
        source.network_is_idle(True)
        writing.close()
        reading.close()


def result_of(future: Future[T]) -> T:
    """The result of a call that another thread works on."""
    while not wait([future], _POLL).done:
        continue
    return future.result()


class _Source(Generic[ItemT, PreparedT, ResultT]):
    """What the thread that reads does."""

    def __init__(self, items: Iterator[ItemT], stages: Stages[ItemT, PreparedT, ResultT], stop: Stop) -> None:
        self._items, self._stages, self._stop = items, stages, stop
        self._idle = threading.Event()

    def network_is_idle(self, idle: bool) -> None:
        """Say whether the network has nothing to do."""
        if idle:
            self._idle.set()
        else:
            self._idle.clear()

    def next_group(self) -> list[tuple[ItemT, PreparedT]]:
        """The next item, or several small ones; none at the end."""
        group: list[tuple[ItemT, PreparedT]] = []
        while len(group) < MOST_TOGETHER and not self._stop.is_set():
            item = next(self._items, None)
            if item is None:
                break
            try:
                prepared = self._read(item, ask=not group)
            except StoppedError:
                break
            except Exception as error:  # whatever it is, it concerns this item, and is reported with it
                self._stages.failed(item, error)
                continue
            group.append((item, prepared))
            if not self._stages.is_small(prepared):
                break
        return group

    def _read(self, item: ItemT, ask: bool) -> PreparedT:
        if ask and not self._idle.is_set() and not self._stages.fits_beside(item):
            self._wait()
        try:
            return self._stages.read(item)
        except Exception as error:
            if self._idle.is_set() or not _is_for_memory(error):
                raise
            log.info("There was too little memory to read a case while another is segmented: it is read after that.")
        self._wait()
        return self._stages.read(item)

    def _wait(self) -> None:
        self._idle.wait()
        self._stop.check()


def _is_for_memory(error: Exception) -> bool:
    return is_out_of_memory(error) or (error.__cause__ is not None and is_out_of_memory(error.__cause__))


def _compute(
    group: Sequence[tuple[ItemT, PreparedT]], stages: Stages[ItemT, PreparedT, ResultT], stop: Stop
) -> list[tuple[ItemT, ResultT]]:
    """The results of a group; if the group fails, of each item by itself."""
    stop.check()
    try:
        results = stages.compute(group)
        return [(item, result) for (item, _), result in zip(group, results, strict=True)]
    except StoppedError:
        raise
    except Exception as error:
        if len(group) == 1:
            stages.failed(group[0][0], error)
            return []
    return [result for one in group for result in _compute([one], stages, stop)]


def _writing(
    results: Sequence[tuple[ItemT, ResultT]], stages: Stages[ItemT, PreparedT, ResultT], stop: Stop
) -> Callable[[], None]:
    def write() -> None:
        try:
            stages.write(results)
        except BaseException:
            stop.set()
            raise

    return write
