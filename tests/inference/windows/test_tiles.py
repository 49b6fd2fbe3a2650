from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from umseg.inference.windows.slab import Strip
from umseg.inference.windows.tiles import Tiles, cut, gaussian_weight, tile_starts

SMALLEST = float(np.finfo(np.float16).smallest_subnormal)


@pytest.mark.parametrize(
    ("size", "patch", "starts"),
    [
        (110, 64, (0, 23, 46)),
        (200, 128, (0, 36, 72)),
        (333, 128, (0, 51, 102, 154, 205)),
        (65, 64, (0, 1)),
        (64, 64, (0,)),
        (10, 64, (0,)),
    ],
)
def test_starts_of_the_published_tiles(size: int, patch: int, starts: tuple[int, ...]) -> None:
    assert tile_starts(size, patch, 0.5) == starts


def test_recorded_starts(shared: Path) -> None:
    recorded = json.loads((shared / "reference/preprocess/sliding_steps.json").read_text())
    assert recorded
    for entry in recorded:
        depth = [1] * (3 - len(entry["tile"]))
        tiles = Tiles.covering([*depth, *entry["image"]], entry["tile"], entry["step"])
        expected = itertools.product(*([0] for _ in depth), *entry["steps"])
        # Recorded positions count from the padding of images that are smaller than the tile.
        missing = [max(p - s, 0) // 2 for p, s in zip(tiles.patch, tiles.shape, strict=True)]
        found = [tuple(c + m for c, m in zip(corner, missing, strict=True)) for corner in tiles.corners(tiles.whole)]
        assert found == list(expected)


@given(size=st.integers(1, 300), patch=st.integers(1, 100), step=st.floats(0.05, 1))
def test_tiles_cover_everything_and_are_at_most_a_step_apart(size: int, patch: int, step: float) -> None:
    starts = tile_starts(size, patch, step)
    assert starts[0] == 0
    assert starts[-1] == max(size - patch, 0)
    # Rounding moves two neighbours apart by less than one voxel.
    assert all(b - a < patch * step + 1 and b - a <= patch for a, b in itertools.pairwise(starts))


def test_every_slice_is_visited_by_a_flat_patch() -> None:
    tiles = Tiles.covering((3, 6, 4), (4, 4), 0.5)
    assert tiles.corners(tiles.whole) == [(z, y, 0) for z in range(3) for y in (0, 2)]


def test_a_strip_has_the_windows_that_touch_it() -> None:
    tiles = Tiles.covering((4, 10, 4), (4, 4, 4), 0.5)
    assert tiles.starts[1] == (0, 2, 4, 6)
    assert tiles.row_starts(Strip(0, 2)) == (0,)
    assert tiles.row_starts(Strip(0, 3)) == (0, 2)
    assert tiles.row_starts(Strip(6, 10)) == (4, 6)


def test_weights_of_the_published_patches() -> None:
    square = gaussian_weight((16, 16)).numpy()
    found = [square[8, 8], square[8, 0], square[0, 0], square[15, 15]]
    assert found == pytest.approx([10, 0.003355, 1.13e-6, 4.786e-5], rel=5e-3, abs=SMALLEST)
    cube = gaussian_weight((128, 128, 128)).numpy()
    assert cube[64, 64, 64] == 10
    assert cube[32, 64, 64] == pytest.approx(1.3535, rel=1e-3)
    assert cube.min() == pytest.approx(6e-8, rel=0.01)


def test_recorded_weights(shared: Path) -> None:
    with np.load(shared / "reference/preprocess/gaussian.npz") as recorded:
        assert len(recorded.files) == 4
        for name in recorded.files:
            expected = recorded[name]
            found = gaussian_weight(expected.shape).numpy().astype(np.float64)
            np.testing.assert_allclose(found, np.maximum(expected, SMALLEST), rtol=1e-6)


@given(st.lists(st.integers(1, 24), min_size=1, max_size=3))
@settings(max_examples=40, deadline=None)
def test_weights_are_positive_and_highest_in_the_middle(sizes: list[int]) -> None:
    weight = gaussian_weight(tuple(sizes))
    assert weight.shape == tuple(sizes)
    assert weight.min() >= SMALLEST
    assert weight.max() == weight[tuple(n // 2 for n in sizes)] == 10


def test_the_weight_of_a_slice_is_that_of_a_flat_patch() -> None:
    assert torch.equal(gaussian_weight((1, 6, 5))[0], gaussian_weight((6, 5)))


def test_padding_puts_the_odd_surplus_on_the_far_side() -> None:
    tiles = Tiles.covering((2, 3, 5), (5, 5, 4), 0.5)
    assert tiles.starts == ((-1,), (-1,), (0, 1))
    window = cut(torch.ones((1, 2, 3, 5)), (-1, -1, 0), (5, 5, 4))
    assert window.shape == (1, 5, 5, 4)
    np.testing.assert_array_equal(window[0, :, 1, 0], [0, 1, 1, 0, 0])
    np.testing.assert_array_equal(window[0, 1, :, 0], [0, 1, 1, 1, 0])
    assert window.sum() == 24


def test_a_window_inside_the_image_is_not_copied() -> None:
    data = torch.arange(60.0).reshape(1, 3, 4, 5)
    window = cut(data, (1, 0, 2), (2, 3, 3))
    assert torch.equal(window, data[:, 1:3, 0:3, 2:5])
    assert window.untyped_storage().data_ptr() == data.untyped_storage().data_ptr()
