"""Voxels that a text header describes: raw, compressed, or written as text."""

from __future__ import annotations

import bz2
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from umseg.dataset.io.formats.damage import INFLATE_ERROR, expect_bytes
from umseg.dataset.io.source import DamagedFileError

Encoding = Literal["raw", "gzip", "bzip2", "text", "hex"]

_MOST_SURPLUS = 2**20
"""Decompressed bytes behind the voxels that are read, because the checksum of the stream follows them."""
_BLOCK = 1 << 18
_ZLIB_OR_GZIP = 47
# Deflate makes at most 1032 bytes of one.
_BEST_DEFLATION = 1100
_LONGEST_LINE = 1 << 20
# The longest number that a program writes has some 25 letters; more space between numbers is no text of numbers.
_LETTERS_PER_NUMBER = 64


@dataclass(frozen=True)
class StoredVoxels:
    """Where and how voxels are stored.

    Attributes:
        file: The file that holds them: the header's own, or one in the same folder.
        start: Where they begin in that file, in bytes.
        encoding: How they are stored.
        dtype: Type of a number, with its byte order.
        count: How many numbers there are.
        lines: Lines to be left out behind ``start``.
        skip: Bytes to be left out behind these, of compressed voxels after decompression; -1: the voxels are the last
            bytes of the file.
        packed_length: Length of the compressed voxels in bytes, if the header states it.
    """

    file: Path
    start: int
    encoding: Encoding
    dtype: np.dtype[Any]
    count: int
    lines: int = 0
    skip: int = 0
    packed_length: int | None = None

    @property
    def num_bytes(self) -> int:
        """Length of the decoded voxels."""
        return self.count * self.dtype.itemsize


def read_voxels(stored: StoredVoxels) -> tuple[NDArray[Any], int]:
    """The numbers in the order of the file, in the byte order of the machine.

    Returns:
        The numbers, and how many bytes behind the compressed data belong to no such data.

    Raises:
        DamagedFileError: The file does not hold what its header promises.
        OSError: The file cannot be read.
        MemoryError: They do not fit into memory.
    """
    with stored.file.open("rb") as handle:
        _skip_lines(handle, stored)
        if stored.encoding in _UNPACKERS:
            values, trailing = _read_packed(handle, stored)
        else:
            values, trailing = _READERS[stored.encoding](handle, stored), 0
    return values.astype(values.dtype.newbyteorder("="), copy=False), trailing


def verify_voxels(stored: StoredVoxels) -> None:
    """Verify that a file holds what its header promises, in little memory.

    Raises:
        DamagedFileError, OSError: As in :func:`read_voxels`.
    """
    with stored.file.open("rb") as handle:
        _skip_lines(handle, stored)
        if stored.encoding in _UNPACKERS:
            _unpack(handle, stored, None)
        elif stored.encoding == "raw":
            _seek_raw(handle, stored)
        else:
            _READERS[stored.encoding](handle, stored)


def _skip_lines(handle: BinaryIO, stored: StoredVoxels) -> None:
    handle.seek(stored.start)
    for _ in range(stored.lines):
        if not handle.readline(_LONGEST_LINE).endswith(b"\n"):
            raise DamagedFileError("the file has fewer lines than its header says are to be left out")


def _seek_raw(handle: BinaryIO, stored: StoredVoxels) -> None:
    size = stored.file.stat().st_size
    begin = size - stored.num_bytes if stored.skip < 0 else handle.tell() + stored.skip
    expect_bytes(size - max(begin, 0) if begin >= 0 else size, stored.num_bytes)
    handle.seek(begin)


def _read_raw(handle: BinaryIO, stored: StoredVoxels) -> NDArray[Any]:
    _seek_raw(handle, stored)
    values = np.empty(stored.count, stored.dtype)
    view = _memory_of(values)
    filled = 0
    while filled < len(view):
        read = handle.readinto(view[filled:])  # type: ignore[attr-defined]
        if not read:
            break
        filled += read
    expect_bytes(filled, stored.num_bytes)
    return values


def _read_packed(handle: BinaryIO, stored: StoredVoxels) -> tuple[NDArray[Any], int]:
    size = stored.file.stat().st_size
    if stored.encoding == "gzip" and stored.num_bytes > size * _BEST_DEFLATION:
        # Such a file cannot hold what its header promises: no memory is asked for.
        _unpack(handle, stored, None)
    values = np.empty(stored.count, stored.dtype)
    return values, _unpack(handle, stored, _memory_of(values))


def _memory_of(values: NDArray[Any]) -> memoryview:
    return values.view(np.uint8).data


class _Unpacker(Protocol):
    """A decompressor of one stream, as in the standard library."""

    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""
        ...

    @property
    def unused_data(self) -> bytes:
        """What follows a stream that has ended."""
        ...

    def decompress(self, data: bytes, max_length: int = ...) -> bytes:
        """The next part of the decompressed data, of at most ``max_length`` bytes."""
        ...


class _Inflate:
    """zlib and gzip, with the interface of ``bz2``: what was not decompressed yet is kept."""

    def __init__(self) -> None:
        # Twice as fast as zlib; most of the time to read an image goes here.
        self._stream = isal_zlib.decompressobj(_ZLIB_OR_GZIP)

    @property
    def eof(self) -> bool:
        return bool(self._stream.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._stream.unused_data)

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        plain: bytes = self._stream.decompress(self._stream.unconsumed_tail + data, max_length)
        return plain


_UNPACKERS: dict[str, Callable[[], _Unpacker]] = {"gzip": _Inflate, "bzip2": bz2.BZ2Decompressor}
_BEGINS = {"gzip": (b"\x1f\x8b", b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"), "bzip2": (b"BZh",)}
"""What a compressed stream begins with: other bytes behind one are not part of the data."""


def _unpack(handle: BinaryIO, stored: StoredVoxels, into: memoryview | None) -> int:
    """Decompress the promised voxels, and verify the checksum behind them.

    Little more is decompressed than the header promises, whatever the data would give. Returns the number of bytes
    behind the compressed data that belong to no such data.

    Args:
        handle: The file, at the beginning of the compressed data.
        stored: What the header says of them.
        into: Memory for the voxels; None only counts them.
    """
    begin = handle.tell()
    needed = max(stored.skip, 0) + stored.num_bytes
    filled = surplus = 0
    trailing: list[int] = []
    try:
        for plain in _unpacked(handle, stored, trailing):
            take = plain[: needed - filled]
            if into is not None:
                skipped = max(0, max(stored.skip, 0) - filled)
                at = max(0, filled - max(stored.skip, 0))
                part = take[skipped:]
                into[at : at + len(part)] = part
            filled += len(take)
            surplus += len(plain) - len(take)
            if surplus > _MOST_SURPLUS:
                raise DamagedFileError(f"the compressed data hold more than the promised {needed:,} bytes")
    except (INFLATE_ERROR, OSError, EOFError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DamagedFileError(f"the compressed data are damaged: {error}") from error
    expect_bytes(filled, needed)
    _expect_packed(handle.tell() - begin, stored)
    return sum(trailing)


def _unpacked(handle: BinaryIO, stored: StoredVoxels, trailing: list[int]) -> Iterator[bytes]:
    """The decompressed parts of a stream, and of those that follow it; zeros behind a stream are padding.

    Other bytes behind a stream are read to the end and counted in ``trailing``.
    """
    unpacker = _UNPACKERS[stored.encoding]()
    left = stored.packed_length
    while block := handle.read(_BLOCK if left is None else min(_BLOCK, left)):
        left = None if left is None else left - len(block)
        if trailing:
            trailing.append(len(block))
            continue
        while True:
            if unpacker.eof:
                block = block.lstrip(b"\0")
                if not block:
                    break
                if not any(begin.startswith(block[: len(begin)]) for begin in _BEGINS[stored.encoding]):
                    trailing.append(len(block))
                    break
                unpacker = _UNPACKERS[stored.encoding]()
            plain = unpacker.decompress(block, _BLOCK)
            block = unpacker.unused_data if unpacker.eof else b""
            if plain:
                yield plain
            if not unpacker.eof and len(plain) < _BLOCK:
                break
    if not unpacker.eof:
        raise DamagedFileError("the compressed data end too early")


def _expect_packed(read: int, stored: StoredVoxels) -> None:
    if stored.packed_length is not None and read != stored.packed_length:
        raise DamagedFileError(
            f"the file holds {read} bytes of compressed data, its header promises {stored.packed_length}"
        )


def _read_text(handle: BinaryIO, stored: StoredVoxels) -> NDArray[Any]:
    """Numbers separated by space."""
    handle.seek(max(stored.skip, 0), 1)
    words = _rest(handle, stored.count * _LETTERS_PER_NUMBER).split(maxsplit=stored.count)[: stored.count]
    if len(words) < stored.count:
        raise DamagedFileError(f"the file holds {len(words)} numbers, its header promises {stored.count}")
    try:
        if stored.dtype.kind == "f":
            return np.array([float(word) for word in words], stored.dtype)
        return np.array([int(word) for word in words], stored.dtype)
    except (ValueError, OverflowError) as error:
        raise DamagedFileError(f"the file holds text that is no number of type {stored.dtype.name}") from error


def _read_hex(handle: BinaryIO, stored: StoredVoxels) -> NDArray[Any]:
    """Bytes as two digits each, with space anywhere."""
    handle.seek(max(stored.skip, 0), 1)
    digits = b"".join(_rest(handle, stored.num_bytes * 4 + _BLOCK).split())
    expect_bytes(len(digits) // 2, stored.num_bytes)
    try:
        return np.frombuffer(bytes.fromhex(digits[: 2 * stored.num_bytes].decode("latin-1")), stored.dtype)
    except ValueError as error:
        raise DamagedFileError("the file holds text that is no hexadecimal digit") from error


def _rest(handle: BinaryIO, most: int) -> bytes:
    """The rest of a file, but no more than so many bytes; memory is asked for what there is, not for what may be."""
    here = handle.tell()
    there = handle.seek(0, 2)
    handle.seek(here)
    return handle.read(min(most, max(there - here, 0)))


_READERS: dict[Encoding, Callable[[BinaryIO, StoredVoxels], NDArray[Any]]] = {
    "raw": _read_raw,
    "text": _read_text,
    "hex": _read_hex,
}
