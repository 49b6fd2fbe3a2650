from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.inference.windows.reference import CPU, image, network, streamed
from umseg.inference.windows.empty import windows_of_body
from umseg.inference.windows.sliding_window import finished_slabs
from umseg.inference.windows.strips import divide
from umseg.inference.windows.tiles import Tiles
from umseg.inference.windows.window import SlidingWindow


def body_in_air(shape: tuple[int, int, int], low: tuple[int, ...], high: tuple[int, ...], seed: int = 0) -> Tensor:
    """Noise around -1000 with a box of tissue around 0."""
    data = -1000 + 10 * image((1, *shape), seed)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    data[0][box] += 1000
    return data / 300


def is_body(data: Tensor) -> Tensor:
    """Voxels that exceed the lowest value by a tenth of the range."""
    lowest, highest = data.min(), torch.quantile(data, 0.995)
    return data[0] > lowest + 0.1 * (highest - lowest)


def touched(tiles: Tiles, body: Tensor) -> Tensor:
    """Voxels that a window with a voxel of the body covers, found window by window."""
    covered = torch.zeros(body.shape, dtype=torch.bool)
    for corner in tiles.corners(tiles.whole):
        place = tuple(slice(max(c, 0), max(c + p, 0)) for c, p in zip(corner, tiles.patch, strict=True))
        covered[place] |= body[place].any()
    return covered


@given(
    st.tuples(*[st.integers(3, 24)] * 3),
    st.tuples(*[st.integers(0, 23)] * 3),
    st.tuples(*[st.integers(2, 9)] * 3),
    st.sampled_from([(4, 5, 6), (5, 4)]),
    st.sampled_from([0.5, 1.0]),
    st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_voxels_of_the_body_are_as_without_and_those_that_only_empty_windows_cover_are_background(
    shape: tuple[int, int, int],
    low: tuple[int, int, int],
    size: tuple[int, int, int],
    patch: tuple[int, ...],
    step: float,
    thin: bool,
) -> None:
    begin = tuple(min(a, n - 1) for a, n in zip(low, shape, strict=True))
    data = body_in_air(shape, begin, tuple(a + n for a, n in zip(begin, size, strict=True)))
    networks = [network(len(patch))]
    tiles = Tiles.covering(shape, patch, step)
    strips = divide(tiles, -(-shape[1] // 2) + 1) if thin else None
    without = streamed(networks, data, 3, SlidingWindow(patch, 1, step))
    sparing = streamed(networks, data, 3, SlidingWindow(patch, 1, step, skip_empty=True), strips)
    body = is_body(data)
    assert body.any()
    assert torch.equal(sparing[:, body], without[:, body])
    assert torch.isfinite(sparing).all()
    assert (sparing.argmax(0)[~touched(tiles, body)] == 0).all()


def test_windows_outside_of_the_body_are_not_computed() -> None:
    calls = []

    class Counted(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            calls.append(x.mean().item())
            return torch.cat([x, x + 1], dim=1)

    data = body_in_air((4, 4, 64), (0, 0, 0), (4, 4, 6))
    window = SlidingWindow((4, 4, 8), 1, skip_empty=True)
    told: list[tuple[int, int]] = []
    logits = streamed([Counted()], data, 2, window, progress=lambda *n: told.append(n))
    # Windows begin every fourth voxel; those at 0 and 4 have tissue.
    assert len(calls) == 2
    assert told[-1] == (2, 2)
    assert (logits[:, ..., 12:].argmax(0) == 0).all()
    assert (logits[:, ..., :12].argmax(0) == 1).all()


def test_an_image_without_a_body_is_background_without_a_forward_pass() -> None:
    logits = streamed([_Refuse()], torch.zeros(1, 9, 9, 9), 3, SlidingWindow((4, 4, 4), skip_empty=True))
    assert (logits.argmax(0) == 0).all()


class _Refuse(torch.nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise AssertionError("an empty window was computed")


def test_no_region_is_likely_where_nothing_was_computed() -> None:
    window = SlidingWindow((4, 4, 4), mirror_axes=(0,), separate=True, skip_empty=True)
    slabs = finished_slabs(
        [_Refuse()],
        torch.zeros(1, 6, 6, 6),
        2,
        window,
        CPU,
        torch.float32,
        strips=[Tiles.covering((6, 6, 6), window.patch, window.step).whole],
        regions=True,
    )
    for slab in slabs:
        assert (slab.logits < 0).all()
        assert slab.member_sums is not None
        assert (slab.member_sums < 0).all()


@pytest.mark.parametrize(("noise", "empty"), [(0.0, True), (0.05, True), (0.2, False)])
def test_a_tenth_of_the_range_is_noise_of_air(noise: float, empty: bool) -> None:
    data = torch.zeros(1, 8, 8, 16)
    data[..., :8] = 1.0
    data[0, 4, 4, 12] = noise
    tiles = Tiles.covering((8, 8, 16), (8, 8, 8), 1.0)
    assert windows_of_body(data, tiles) == ({(0, 0, 0)} if empty else {(0, 0, 0), (0, 0, 8)})


def test_any_channel_can_show_the_body() -> None:
    data = torch.zeros(2, 4, 4, 8)
    data[0, ..., :4] = 1
    data[1, ..., 4:] = 1
    assert len(windows_of_body(data, Tiles.covering((4, 4, 8), (4, 4, 4), 1.0))) == 2
