"""Three stages overlap, hold one item each, and end whatever happens in one of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from umseg.inference.pipeline.hand import Hand
from umseg.inference.pipeline.stages import MOST_TOGETHER, Stages, Stop, result_of, run_stages

SECONDS = 20.0
"""Longest wait for another thread; a test that needs it has failed."""


@dataclass
class Work:
    """Stages over numbers, which note what they do.

    Attributes:
        small: Items that go through the network together.
        alone: Items that are not read while another one is in the network.
        during_read, during_compute, during_write: Called with each item, at each stage.
    """

    small: Sequence[int] = ()
    alone: Sequence[int] = ()
    during_read: Callable[[int], Any] = lambda _: None
    during_compute: Callable[[int], Any] = lambda _: None
    during_write: Callable[[int], Any] = lambda _: None
    events: list[tuple[str, int]] = field(default_factory=list)
    groups: list[list[int]] = field(default_factory=list)
    written: list[int] = field(default_factory=list)
    failed: dict[int, Exception] = field(default_factory=dict)

    def read(self, item: int) -> int:
        self.events.append(("read", item))
        self.during_read(item)
        return 10 * item

    def compute(self, group: Sequence[tuple[int, int]]) -> list[int]:
        self.groups.append([item for item, _ in group])
        for item, prepared in group:
            assert prepared == 10 * item
            self.events.append(("compute", item))
            self.during_compute(item)
        self.events += [("computed", item) for item, _ in group]
        return [prepared + 1 for _, prepared in group]

    def write(self, group: Sequence[tuple[int, int]]) -> None:
        for item, result in group:
            assert result == 10 * item + 1
            self.events.append(("write", item))
            self.during_write(item)
            self.written.append(item)

    def run(self, items: Iterator[int], stop: Stop | None = None) -> None:
        stages = Stages(
            self.read,
            lambda prepared: prepared // 10 in self.small,
            lambda item: item not in self.alone,
            self.compute,
            self.write,
            self.failed.__setitem__,
        )
        run_stages(items, stages, stop or Stop())


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def test_every_item_passes_all_stages_in_order() -> None:
    work = Work()
    work.run(iter(range(5)))
    assert work.written == [0, 1, 2, 3, 4]
    assert work.groups == [[0], [1], [2], [3], [4]]
    assert work.failed == {}
    Work().run(iter(()))


def test_the_next_item_is_read_and_the_last_one_written_while_the_network_works() -> None:
    reads, writes = threading.Barrier(2), threading.Barrier(2)

    def compute(item: int) -> None:
        if item == 1:
            reads.wait(SECONDS)
            writes.wait(SECONDS)

    work = Work(
        during_read=lambda item: item == 2 and reads.wait(SECONDS),
        during_compute=compute,
        during_write=lambda item: item == 0 and writes.wait(SECONDS),
    )
    work.run(iter(range(3)))
    assert work.written == [0, 1, 2]


def test_each_stage_holds_one_item() -> None:
    release, full = threading.Event(), threading.Event()

    def write(item: int) -> None:
        if item == 0:
            full.set()
            assert release.wait(SECONDS)

    work = Work(during_write=write)
    thread = threading.Thread(target=work.run, args=(iter(range(9)),))
    thread.start()
    assert full.wait(SECONDS)
    # The first is being written, the second waits behind it, and the third has been read: no more is begun.
    while ("read", 2) not in work.events or ("computed", 1) not in work.events:
        assert thread.is_alive()
    assert ("read", 3) not in work.events
    assert ("compute", 2) not in work.events
    release.set()
    thread.join(SECONDS)
    assert work.written == list(range(9))


def test_what_does_not_fit_beside_another_is_read_when_the_network_is_idle() -> None:
    work = Work(alone=[1, 2])
    work.run(iter(range(4)))
    for item in (1, 2):
        assert work.events.index(("read", item)) > work.events.index(("computed", item - 1))
    assert work.written == [0, 1, 2, 3]


def test_small_items_go_through_the_network_together() -> None:
    work = Work(small=range(MOST_TOGETHER + 2))
    work.run(iter(range(MOST_TOGETHER + 4)))
    last = list(range(MOST_TOGETHER, MOST_TOGETHER + 3))
    assert work.groups == [list(range(MOST_TOGETHER)), last, [MOST_TOGETHER + 3]]
    assert work.written == list(range(MOST_TOGETHER + 4))


def fail(*items: int, error: Callable[[], BaseException] = lambda: ValueError("damaged")) -> Callable[[int], None]:
    def raise_for(item: int) -> None:
        if item in items:
            raise error()

    return raise_for


@pytest.mark.parametrize("small", [(), range(6)])
def test_an_item_that_cannot_be_read_or_computed_stops_no_other(small: Sequence[int]) -> None:
    work = Work(small=small, during_read=fail(1, 5), during_compute=fail(3))
    work.run(iter(range(6)))
    assert work.written == [0, 2, 4]
    assert {item: str(error) for item, error in work.failed.items()} == dict.fromkeys((1, 5, 3), "damaged")


def test_a_case_for_which_memory_is_missing_is_read_again_alone() -> None:
    tries: list[int] = []
    computing = threading.Event()

    def read(item: int) -> None:
        if item == 1:
            tries.append(item)
            if len(tries) == 1:
                assert computing.wait(SECONDS)
                raise MemoryError("no 5 GB")

    def compute(item: int) -> None:
        if item == 0:
            computing.set()
            while not tries:
                pass

    work = Work(during_read=read, during_compute=compute)
    work.run(iter(range(3)))
    assert work.written == [0, 1, 2]
    assert tries == [1, 1]
    assert work.failed == {}


def test_without_memory_for_one_case_alone_the_case_fails() -> None:
    work = Work(during_read=fail(1, error=lambda: MemoryError("no 5 GB")))
    work.run(iter(range(3)))
    assert work.written == [0, 2]
    assert isinstance(work.failed[1], MemoryError)


def test_an_error_of_the_writer_ends_all_in_the_middle_of_a_computation() -> None:
    stop = Stop()

    def compute(item: int) -> None:
        if item == 1:
            assert stop.wait(SECONDS)
            stop.check()

    work = Work(during_compute=compute, during_write=fail(0, error=lambda: OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        work.run(iter(range(99)), stop)
    assert work.written == []
    assert ("compute", 2) not in work.events


def test_an_error_of_the_source_is_raised() -> None:
    def items() -> Iterator[int]:
        yield 0
        raise RuntimeError("no list")

    work = Work()
    with pytest.raises(RuntimeError, match="no list"):
        work.run(items())
    assert work.written == [0]


def test_ctrl_c_in_the_network_lets_a_file_be_finished_and_begins_no_other() -> None:
    writing, pressed = threading.Event(), threading.Event()

    def write(_: int) -> None:
        writing.set()
        assert pressed.wait(SECONDS)

    def compute(item: int) -> None:
        if item == 1:
            assert writing.wait(SECONDS)
            pressed.set()
            raise KeyboardInterrupt

    work = Work(during_compute=compute, during_write=write)
    with pytest.raises(KeyboardInterrupt):
        work.run(iter(range(99)))
    assert work.written == [0]
    assert ("read", 3) not in work.events


def test_a_wish_from_outside_ends_the_work() -> None:
    stop = Stop()

    def compute(item: int) -> None:
        if item == 1:
            stop.set()
            stop.check()

    work = Work(during_compute=compute)
    work.run(iter(range(99)), stop)
    assert work.written == [0]


def test_whatever_a_thread_raises_reaches_who_waits_for_it() -> None:
    hand = Hand("test")
    try:
        assert result_of(hand.submit(lambda: 3)) == 3
        for error in (TimeoutError("late"), SystemExit(3), KeyboardInterrupt()):
            future = hand.submit(lambda error=error: fail(0, error=lambda: error)(0))  # type: ignore[misc]
            with pytest.raises(type(error)):
                result_of(future)
        assert result_of(hand.submit(lambda: 4)) == 4
    finally:
        hand.close()
