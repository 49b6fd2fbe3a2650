from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from umseg.inference.windows.batches import BatchSize, batch_size, most_windows
from umseg.inference.windows.window import SlidingWindow

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("patch", "on_cpu", "on_gpu"),
    [
        ((96, 96, 96), 1, 4),
        ((40, 56, 40), 2, 32),
        ((64, 64), 16, 64),
        ((256, 256), 4, 64),
        ((512, 512), 1, 16),
        ((256, 256, 256), 1, 1),
    ],
)
def test_the_largest_batch_depends_on_the_size_of_a_window(patch: tuple[int, ...], on_cpu: int, on_gpu: int) -> None:
    assert most_windows(patch, CPU) == on_cpu
    assert most_windows(patch, GPU) == on_gpu


def test_nothing_is_measured_on_a_cpu_or_where_a_number_is_given() -> None:
    assert batch_size(SlidingWindow((64, 64)), CPU).settled
    assert batch_size(SlidingWindow((64, 64), 3), GPU).settled
    assert batch_size(SlidingWindow((64, 64), 3), GPU).size == 3
    measured = batch_size(SlidingWindow((64, 64)), GPU)
    assert (measured.settled, measured.size, measured.most) == (False, 1, 64)


class Device:
    """A device on which a batch takes as long as ``seconds`` says, and longer the first time."""

    def __init__(self, seconds: Callable[[int], float]) -> None:
        self.seconds, self.now, self.waits = seconds, 0.0, 0
        self.seen: set[int] = set()

    def work(self, count: int) -> None:
        self.now += self.seconds(count) + (0 if count in self.seen else 100)
        self.seen.add(count)

    def wait(self) -> None:
        self.waits += 1

    def run(self, batch: BatchSize, windows: int) -> list[int]:
        """The sizes of the batches of so many windows."""
        sizes = []
        while windows:
            size = min(batch.size, windows)
            batch.timed(lambda size=size: self.work(size), size, self.wait)  # type: ignore[misc]
            sizes.append(size)
            windows -= size
        return sizes


def test_the_number_doubles_while_each_window_takes_less_time() -> None:
    # A device that computes up to four windows in the time of one.
    device = Device(lambda count: max(count / 4, 1))
    batch = BatchSize(64, measured=True, clock=lambda: device.now)
    assert device.run(batch, 60) == [1, 1, 2, 2, 4, 4, 8, 8, *[4] * 7, 2]
    assert batch.settled
    assert batch.most == 4
    waits = device.waits
    device.run(batch, 100)
    assert device.waits == waits


def test_the_number_does_not_exceed_the_largest() -> None:
    device = Device(lambda count: 1)
    batch = BatchSize(4, measured=True, clock=lambda: device.now)
    assert device.run(batch, 20) == [1, 1, 2, 2, 4, 4, 4, 2]
    assert batch.settled


def test_one_by_one_stays_where_two_are_no_quicker() -> None:
    device = Device(float)
    batch = BatchSize(64, measured=True, clock=lambda: device.now)
    assert device.run(batch, 9) == [1, 1, 2, 2, 1, 1, 1]


def test_smaller_batches_at_the_end_of_an_image_are_not_measured() -> None:
    device = Device(lambda count: 1)
    batch = BatchSize(8, measured=True, clock=lambda: device.now)
    assert device.run(batch, 3) == [1, 1, 1]
    assert device.run(batch, 4) == [2, 2]
    assert batch.size == 4


def test_a_limit_of_memory_ends_the_measurement() -> None:
    batch = BatchSize(8, measured=True)
    batch.timed(lambda: batch.limit(0), 1, lambda: None)
    assert (batch.settled, batch.size, batch.most) == (True, 1, 1)
