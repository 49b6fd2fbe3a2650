"""Layout of an array on disk such that reading a patch touches little more than the patch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Size of a block, which is decompressed as a whole. Small blocks waste little at the faces of a patch; blocks that are
# smaller still compress worse and cost more time than they save.
_BLOCK_BYTES = 2**15
# Size of a chunk, which is stored contiguously. Every chunk adds some time, so that there should not be too many.
_LEAST_CHUNK_BYTES = 2**20
_MOST_CHUNK_BYTES = 2**22


def compress(array: NDArray[Any], patch_size: Sequence[int]) -> bytes:
    """The bytes of a blosc2 file; equal arrays give equal bytes on every machine.

    Args:
        array: (channels, z, y, x) or (z, y, x).
        patch_size: Size per axis of the patches that are read; two axes mean single slices.
    """
    # Prediction imports this module, but stores nothing.
    import blosc2

    chunks, blocks = layout(array.shape, patch_size, array.dtype.itemsize)
    # Labels are mostly constant, so that a stronger codec makes them much smaller at hardly any cost.
    codec, level = (blosc2.Codec.ZSTD, 1) if array.dtype.kind == "i" else (blosc2.Codec.LZ4, 5)
    compressed = blosc2.asarray(
        np.ascontiguousarray(array),
        chunks=chunks,
        blocks=blocks,
        cparams={"codec": codec, "clevel": level, "nthreads": 1},
    )
    frame: bytes = compressed.to_cframe()
    return frame


def layout(shape: Sequence[int], patch_size: Sequence[int], itemsize: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Chunks and blocks for reading patches out of an array.

    Args:
        shape: (channels, z, y, x) or (z, y, x).
        patch_size: Size per axis of the patches that are read; two axes mean single slices.
        itemsize: Bytes per voxel.

    Returns:
        The shapes of chunks (all channels, about a patch) and of blocks (one channel; of one slice where patches are).
    """
    flat = (1,) * (3 - len(patch_size))
    spatial, channels = tuple(shape[-3:]), tuple(shape[:-3])
    read = flat + spatial[len(flat) :]
    bytes_per_voxel = itemsize * math.prod(channels)
    least, most = _LEAST_CHUNK_BYTES // bytes_per_voxel, _MOST_CHUNK_BYTES // bytes_per_voxel
    chunk = tuple(min(pair) for pair in zip(read, (*flat, *patch_size), strict=True))
    chunk = _halve(_double(_double(chunk, read, least), spatial, least), most)
    block = tuple(min(pair) for pair in zip(chunk, read, strict=True))
    return channels + chunk, (1,) * len(channels) + _halve(block, _BLOCK_BYTES // itemsize)


def _double(shape: tuple[int, ...], limits: tuple[int, ...], least_voxels: int) -> tuple[int, ...]:
    sides = list(shape)
    while math.prod(sides) < least_voxels and sides != list(limits):
        shortest = min((axis for axis in range(len(sides)) if sides[axis] < limits[axis]), key=lambda axis: sides[axis])
        sides[shortest] = min(2 * sides[shortest], limits[shortest])
    return tuple(sides)


def _halve(shape: tuple[int, ...], most_voxels: int) -> tuple[int, ...]:
    sides = list(shape)
    while math.prod(sides) > max(most_voxels, 1):
        longest = sides.index(max(sides))
        sides[longest] = -(-sides[longest] // 2)
    return tuple(sides)
