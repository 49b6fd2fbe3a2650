"""Opening of stored arrays that nobody has checked: a blosc2 file may hold more than an array, and even code.

``blosc2.open`` interprets what a file says of itself: versions before 4.14 run the source of a lazy expression, and all
of them take the bytes of an array of Python objects for addresses. So the header is read here first, and a file is
opened only if it is a plain array of numbers as ``layout.compress`` writes it. The format is described in
README_CFRAME_FORMAT.rst of c-blosc2.
"""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from umseg.common.files import open_regular
from umseg.common.text import by

MOST_CHUNK_BYTES = 2**28
"""Largest chunk that is read. ``layout`` makes chunks of a few MB."""

_TYPES = {"<f4": np.float32, "<f2": np.float16, "|i1": np.int8, "<i2": np.int16}
_MOST_HEADER_BYTES = 512
_HEADER_BYTES = 32  # of a chunk
_END_BYTES = 35
# The end of a file without further entries; a fingerprint of 16 bytes follows.
_END = b"\x94\x01\x93\xcd\x00\x06\xde\x00\x00\xdc\x00\x00\xce\x00\x00\x00\x23\xd8\x00"
_CODECS = (0, 1, 5)  # none, LZ4, ZSTD
_CHUNK_CODECS = (0, 1, 4)  # the same in a chunk's flags
_FILTERS = (0, 1)  # none, shuffle
_SPECIAL = ("NOT_SPECIAL", "ZERO", "NAN", "VALUE")


@dataclass(frozen=True)
class Frame:
    """What the header of a stored array says.

    Attributes:
        shape: Voxels per axis.
        chunks: Shape of a chunk.
        blocks: Shape of a block, into which chunks are divided.
        dtype: Type of the values.
        block_bytes: Bytes of a block.
        chunk_bytes: Bytes of a chunk, filled up to whole blocks.
    """

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    blocks: tuple[int, ...]
    dtype: np.dtype[Any]
    block_bytes: int
    chunk_bytes: int


def open_array(path: Path, remedy: str, threads: int, *, mapped: bool) -> Any:
    """Open an array without reading a block, after a check that it is a plain array of numbers.

    Args:
        path: File that ``layout.compress`` made.
        remedy: What the user can do if it is no regular file.
        threads: Number of threads that decompress.
        mapped: Whether the file is mapped into memory, which reads faster.

    Returns:
        A ``blosc2.NDArray``.

    Raises:
        ValueError: The file is damaged or holds something else; the message says how that shows.
        RuntimeError: blosc2 cannot open it.
        OSError: The file is missing or cannot be read.
        UserError: The path is no regular file.
    """
    import blosc2

    with open_regular(path, remedy=remedy) as file:
        frame = read_frame(file)
    options: dict[str, Any] = {"mmap_mode": "r"} if mapped else {}
    if "deserialize" in inspect.signature(blosc2.open).parameters:
        options["deserialize"] = "safe"
    array = blosc2.open(str(path), mode="r", dparams={"nthreads": threads}, **options)
    if type(array) is not blosc2.NDArray:
        raise ValueError(f"a {type(array).__name__}")
    found = (array.shape, array.chunks, array.blocks, array.dtype)
    if found != (frame.shape, frame.chunks, frame.blocks, frame.dtype):
        raise ValueError("an array that differs from its header")
    _check_chunks(array, frame)
    return array


def read_frame(file: BinaryIO) -> Frame:
    """Read the header of an open file, and refuse everything but a plain array of numbers.

    Raises:
        ValueError: The file is damaged or holds something else.
        OSError: The file cannot be read.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    header = _Header(file.read(_MOST_HEADER_BYTES))
    header.expect(b"\x9e\xa8b2frame\x00")
    header_bytes, frame_bytes = header.integer(0xD2, 4), header.integer(0xCF, 8)
    if frame_bytes != size:
        raise ValueError(f"a file of {size:,} bytes that should have {frame_bytes:,}")
    header.expect(b"\xa4")
    flags = header.take(4)
    stored_bytes, compressed_bytes = header.integer(0xD3, 8), header.integer(0xD3, 8)
    item_bytes, block_bytes, chunk_bytes = (header.integer(0xD2, 4) for _ in range(3))
    for _ in range(2):
        header.integer(0xD1, 2)  # threads of whoever wrote the file
    # No entries at the end, six filters.
    header.expect(b"\xc2\xd8\x06")
    filters = header.take(16)
    if flags[1] or flags[2] & 0xF not in _CODECS or not _known(filters):
        raise ValueError("an array in several files or with an unknown compression")
    # One entry, which describes the array.
    header.expect(b"\x93\xcd\x00\x11\xde\x00\x01\xa4b2nd")
    place = header.integer(0xD2, 4)
    header.expect(b"\xdc\x00\x01")
    if place != header.place or header.integer(0xC6, 4) != header_bytes - header.place:
        raise ValueError("a header whose parts do not fit together")
    header.expect(b"\x97\x00")
    axes = header.take(1)[0]
    shape, chunks, blocks = header.sizes(axes, 0xD3, 8), header.sizes(axes, 0xD2, 4), header.sizes(axes, 0xD2, 4)
    header.expect(b"\x00")
    name = header.take(header.integer(0xDB, 4)).decode("ascii", "replace")
    if name not in _TYPES:
        raise ValueError(f"values of the type {name[:20]!r}; known are {', '.join(_TYPES)}")
    frame = Frame(shape, chunks, blocks, np.dtype(_TYPES[name]), block_bytes, chunk_bytes)
    _check_sizes(frame, stored_bytes, item_bytes)
    file.seek(max(size - _END_BYTES, 0))
    if header.place != header_bytes or header_bytes + compressed_bytes > size or file.read(len(_END)) != _END:
        raise ValueError("a file with other entries than an array")
    return frame


class _Header:
    """The first bytes of a file, read one field after another: a mark of MessagePack, then a big-endian number."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.place = 0

    def take(self, count: int) -> bytes:
        """The next bytes."""
        taken = self.content[self.place : self.place + count]
        if len(taken) < count:
            raise ValueError("a header that is cut or too long")
        self.place += count
        return taken

    def expect(self, expected: bytes) -> None:
        """Skip bytes that must be there."""
        place = self.place
        if self.take(len(expected)) != expected:
            raise ValueError(f"something else than an array of numbers (byte {place} of the header)")

    def integer(self, mark: int, count: int) -> int:
        """The next number, which follows its mark; a negative one appears as a very large one."""
        self.expect(bytes([mark]))
        return int.from_bytes(self.take(count), "big")

    def sizes(self, axes: int, mark: int, count: int) -> tuple[int, ...]:
        """The next list of a number per axis."""
        if axes not in (3, 4):
            raise ValueError(f"an array of {axes} axes; stored arrays have 3 or 4")
        self.expect(bytes([0x90 + axes]))
        return tuple(self.integer(mark, count) for _ in range(axes))


def _check_sizes(frame: Frame, stored_bytes: int, item_bytes: int) -> None:
    inside = zip(frame.blocks, frame.chunks, frame.shape, strict=True)
    if not all(0 < block <= chunk <= whole < 2**31 for block, chunk, whole in inside):
        raise ValueError(f"{by(frame.shape)} voxels in chunks of {by(frame.chunks)} and blocks of {by(frame.blocks)}")
    filled = math.prod(_ceil(chunk, block) * block for chunk, block in zip(frame.chunks, frame.blocks, strict=True))
    count = math.prod(_ceil(whole, chunk) for whole, chunk in zip(frame.shape, frame.chunks, strict=True))
    expected = (frame.dtype.itemsize, math.prod(frame.blocks) * item_bytes, filled * item_bytes)
    if (item_bytes, frame.block_bytes, frame.chunk_bytes) != expected or stored_bytes != count * frame.chunk_bytes:
        raise ValueError("sizes of values, blocks and chunks that do not fit together")
    if frame.chunk_bytes > MOST_CHUNK_BYTES:
        raise ValueError(f"chunks of {frame.chunk_bytes:,} bytes; at most {MOST_CHUNK_BYTES:,} are read")


def _check_chunks(array: Any, frame: Frame) -> None:
    """Compare every chunk's own header with the file's: blosc2 fills memory by the one and reserves it by the other."""
    for chunk in array.schunk.iterchunks_info():
        header = bytes(chunk.lazychunk[:_HEADER_BYTES])
        found = (header[3:4], header[4:8], header[8:12])
        sizes = (frame.dtype.itemsize, 1), (frame.chunk_bytes, 4), (frame.block_bytes, 4)
        if (
            chunk.special.name not in _SPECIAL
            or len(header) < _HEADER_BYTES
            or header[2] >> 5 not in _CHUNK_CODECS
            or not _known(header[16:31])
            or found != tuple(size.to_bytes(count, "little") for size, count in sizes)
        ):
            raise ValueError(f"chunk {chunk.nchunk}, whose own header differs from that of the file")


def _known(filters: Sequence[int]) -> bool:
    """Whether six filters and the codec after them belong to blosc2 itself, which looks for others among the packages.

    They have no parameters, so that zeros follow.
    """
    return all(number in _FILTERS for number in filters[:6]) and filters[6] in _CODECS and not any(filters[7:])


def _ceil(whole: int, part: int) -> int:
    return -(-whole // part)
