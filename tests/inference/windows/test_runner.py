"""What happens when memory is exhausted; ``cpu:0`` stands for a device that is not the CPU."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import Tensor, nn

from tests.inference.windows.reference import CPU, image, network, streamed
from umseg.common.errors import UserError
from umseg.inference.windows import runner
from umseg.inference.windows.batches import BatchSize
from umseg.inference.windows.rolling import RollingSums
from umseg.inference.windows.sliding_window import finished_slabs
from umseg.inference.windows.tiles import Tiles
from umseg.inference.windows.window import SlidingWindow

DEVICE = torch.device("cpu:0")


class Limited(nn.Module):
    """A network that does not take more than a number of windows together; a copy of it has no limit.

    Args:
        inner: The network.
        most: Largest number of windows.
        after: Number of forward passes before the limit comes into force.
    """

    def __init__(self, inner: nn.Module, most: int, after: int = 0) -> None:
        super().__init__()
        self.inner, self.most, self.after = inner, most, after

    def __deepcopy__(self, memo: dict[int, object]) -> nn.Module:
        return self.inner

    def forward(self, x: Tensor) -> Tensor:
        self.after -= 1
        if len(x) > self.most and self.after < 0:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        logits: Tensor = self.inner(x)
        return logits


def segment(networks: list[nn.Module], data: Tensor, window: SlidingWindow, batch: BatchSize) -> Tensor:
    tiles = Tiles.covering(data.shape[1:], window.patch, window.step)
    logits = torch.zeros(3, *data.shape[1:])
    for slab in finished_slabs(networks, data, 3, window, DEVICE, torch.float32, strips=[tiles.whole], batch=batch):
        logits[:, slab.start : slab.start + len(slab.weights)] = slab.logits
    return logits


@pytest.mark.parametrize("mirror_axes", [(), (0, 1)])
@pytest.mark.parametrize("after", [0, 3])
def test_fewer_windows_go_through_the_network_together(
    after: int, mirror_axes: tuple[int, ...], caplog: pytest.LogCaptureFixture
) -> None:
    data, window = image((1, 9, 10, 11)), SlidingWindow((4, 4, 4), 8, mirror_axes=mirror_axes)
    expected = streamed([network(3)], data, 3, window)
    batch = BatchSize(8)
    found = segment([Limited(network(3), 2, after)], data, window, batch)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert batch.size == 2
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert "from now on 4 windows go at a time" in caplog.messages[0]
    assert "from now on 2 windows go at a time" in caplog.messages[1]
    caplog.clear()
    segment([Limited(network(3), 2)], data, window, batch)
    assert not caplog.records


def test_the_search_for_a_batch_size_ends_without_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    data, window = image((1, 9, 10, 11)), SlidingWindow((4, 4, 4))
    clock = iter(range(1000))
    batch = BatchSize(8, measured=True, clock=lambda: float(next(clock)))
    found = segment([Limited(network(3), 1)], data, window, batch)
    torch.testing.assert_close(found, streamed([network(3)], data, 3, window), rtol=0, atol=1e-6)
    assert batch.size == 1
    assert not caplog.records


def test_at_last_the_sums_and_then_the_networks_move_to_the_cpu(caplog: pytest.LogCaptureFixture) -> None:
    data, window = image((1, 9, 10, 11)), SlidingWindow((4, 4, 4), 2, mirror_axes=(2,))
    networks = [network(3), network(3, seed=1)]
    expected = streamed(networks, data, 3, window)
    # The first eight forward passes fit.
    limited: list[nn.Module] = [Limited(networks[0], 0, 8), networks[1]]
    found = segment(limited, data, window, BatchSize(2))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    words = ["1 window goes at a time", "are summed on the CPU", "is computed on the CPU"]
    assert len(caplog.records) == 3
    assert all(word in message for word, message in zip(words, caplog.messages, strict=True))
    # The networks themselves stay where they were.
    with pytest.raises(torch.cuda.OutOfMemoryError):
        limited[0](data[None])


def test_sums_that_do_not_fit_beside_the_network_are_kept_on_the_cpu(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class OnCpuOnly(RollingSums):
        def __init__(self, *sizes: object) -> None:
            if sizes[-1] != CPU:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
            super().__init__(*sizes)  # type: ignore[arg-type]

    monkeypatch.setattr(runner, "RollingSums", OnCpuOnly)
    data, window = image((1, 9, 10, 11)), SlidingWindow((4, 4, 4), 2)
    found = segment([network(3)], data, window, BatchSize(2))
    torch.testing.assert_close(found, streamed([network(3)], data, 3, window), rtol=0, atol=1e-6)
    assert ["are summed on the CPU" in message for message in caplog.messages] == [True]


def test_other_errors_are_not_taken_for_exhausted_memory() -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        segment([Broken()], image((1, 9, 10, 11)), SlidingWindow((4, 4, 4), 2), BatchSize(2))


def test_one_window_that_does_not_fit_on_the_cpu_is_an_error() -> None:
    with pytest.raises(UserError, match="Prediction ran out of memory"):
        streamed([Limited(network(3), 0)], image((1, 9, 10, 11)), 3, SlidingWindow((4, 4, 4), 2))
