"""Chunks and blocks: few bytes per patch, few chunks per array."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umseg.preprocess.store.layout import compress, layout

sizes = st.integers(1, 400)


@settings(max_examples=100, deadline=None)
@given(st.tuples(st.integers(1, 8), sizes, sizes, sizes), st.lists(sizes, min_size=2, max_size=3))
def test_bounds(shape: tuple[int, ...], patch: list[int]) -> None:
    chunks, blocks = layout(shape, patch, 4)
    assert all(block <= chunk <= size for block, chunk, size in zip(blocks, chunks, shape, strict=True))
    assert chunks[0] == shape[0]
    assert blocks[0] == 1
    assert math.prod(chunks) * 4 <= 2**22
    assert math.prod(blocks) * 4 <= 2**15
    if len(patch) == 2:
        assert blocks[1] == 1, "a slice is read without its neighbours"
    assert 2 * math.prod(chunks) * 4 >= 2**20 or chunks[1:] == shape[1:], "no more chunks than need be"


def blocks_touched(start: int, stop: int, chunk: int, block: int) -> int:
    """Voxels of the blocks that a range of an axis touches; every chunk starts with a new block."""
    return block * len({(voxel // chunk, voxel % chunk // block) for voxel in range(start, stop)})


@pytest.mark.parametrize(
    ("shape", "patch", "most"),
    [
        # Hippocampus, whole in one patch.
        ((37, 50, 35), (40, 56, 40), 1.2),
        # An abdominal CT of 512x512x120 at 0.8x0.8x2.5 mm, resampled to 1x1x2.5.
        ((120, 410, 410), (48, 192, 192), 1.7),
        ((300, 410, 410), (128, 128, 128), 1.7),
        ((120, 512, 512), (512, 512), 1.01),
    ],
)
def test_a_patch_touches_little(shape: tuple[int, ...], patch: tuple[int, ...], most: float) -> None:
    chunks, blocks = layout((1, *shape), patch, 4)
    size = [min(pair) for pair in zip((1,) * (3 - len(patch)) + patch, shape, strict=True)]
    draw = np.random.default_rng(0)
    touched = []
    for _ in range(50):
        corner = [int(draw.integers(n - s + 1)) for n, s in zip(shape, size, strict=True)]
        ranges = ((c, c + s) for c, s in zip(corner, size, strict=True))
        axes = zip(ranges, chunks[1:], blocks[1:], strict=True)
        touched.append(math.prod(blocks_touched(*span, chunk, block) for span, chunk, block in axes))
    assert np.mean(touched) < most * math.prod(size)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8, np.int16])
def test_compressing_twice_gives_the_same_bytes(dtype: type) -> None:
    array: np.ndarray = np.random.default_rng(0).integers(0, 9, (40, 50, 60)).astype(dtype)
    noncontiguous = np.asfortranarray(array)
    first, *others = (compress(form, (16, 16, 16)) for form, _ in itertools.product((array, noncontiguous), range(2)))
    assert all(other == first for other in others)
