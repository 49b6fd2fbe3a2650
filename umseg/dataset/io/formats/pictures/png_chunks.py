"""The chunks of a PNG file: what the header says, and whether the file is whole."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from umseg.dataset.io.formats.upright import UPRIGHT, exif_orientation
from umseg.dataset.io.source import DamagedFileError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, COLOURS, PALETTE, GREY_ALPHA, COLOURS_ALPHA = 0, 2, 3, 4, 6

_COMPONENTS = {GREY: 1, COLOURS: 3, PALETTE: 1, GREY_ALPHA: 2, COLOURS_ALPHA: 4}
_BITS = {GREY: (1, 2, 4, 8, 16), PALETTE: (1, 2, 4, 8)}
_MOST_EXIF = 1 << 20
_BLOCK = 1 << 18
# Rows and columns of the seven passes of an interlaced picture: first row, first column, step of rows, of columns.
_PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


@dataclass(frozen=True)
class PngHeader:
    """What a PNG file says about its pixels.

    Attributes:
        size: Width and height.
        bits: Bits per number.
        colours: ``GREY``, ``COLOURS``, ``PALETTE``, ``GREY_ALPHA`` or ``COLOURS_ALPHA``.
        interlaced: Whether the pixels are stored in seven passes.
        transparent: The chunk that names transparent colours; None where there is none.
        orientation: How the picture is to be turned, 1 for upright.
    """

    size: tuple[int, int]
    bits: int
    colours: int
    interlaced: bool
    transparent: bytes | None
    orientation: int

    @property
    def components(self) -> int:
        """Numbers per pixel as they are stored."""
        return _COMPONENTS[self.colours]

    @property
    def inflated(self) -> int:
        """Bytes of the pixels before they are compressed: each row begins with the number of a filter."""
        width, height = self.size
        passes = _PASSES if self.interlaced else ((0, 0, 1, 1),)
        total = 0
        for first_row, first_column, rows, columns in passes:
            down, across = -((first_row - height) // rows), -((first_column - width) // columns)
            if down > 0 and across > 0:
                total += down * (1 + (across * self.components * self.bits + 7) // 8)
        return total


def read_header(path: Path) -> PngHeader:
    """Read what the chunks say, without the pixels.

    Raises:
        DamagedFileError: The file is no PNG, or its chunks are not whole.
    """
    first = b""
    transparent: bytes | None = None
    orientation = UPRIGHT
    with path.open("rb") as handle:
        for kind, size in _chunks(handle, path.stat().st_size):
            if kind == b"IHDR" and not first:
                first = handle.read(size)
            elif kind == b"tRNS" and size <= 256:
                transparent = handle.read(size)
            elif kind == b"eXIf" and size <= _MOST_EXIF:
                orientation = exif_orientation(handle.read(size))
    try:
        width, height, bits, colours, _, _, interlaced = struct.unpack(">IIBBBBB", first)
    except struct.error as error:
        raise DamagedFileError("the file has no header") from error
    if 0 in (width, height) or colours not in _COMPONENTS or bits not in _BITS.get(colours, (8, 16)):
        raise DamagedFileError(f"the header promises {width} x {height} pixels of {bits} bits and kind {colours}")
    return PngHeader((width, height), bits, colours, bool(interlaced), transparent, orientation)


def check_chunks(path: Path) -> None:
    """Verify that all chunks are there, and the checksums of those that a reader needs.

    Raises:
        DamagedFileError: They are not whole.
    """
    with path.open("rb") as handle:
        for kind, size in _chunks(handle, path.stat().st_size):
            if not kind[0] & 0x20:
                _check_sum(handle, kind, size)


def plain_png(path: Path, kind: tuple[int, int]) -> bytes:
    """A PNG file in memory that has only the pixels of a file, and their palette.

    Args:
        path: The file.
        kind: Bits per number and kind of colours that the header gets.
    """
    chunks = []
    with path.open("rb") as handle:
        for name, size in _chunks(handle, path.stat().st_size):
            if name in (b"IHDR", b"PLTE", b"IDAT", b"IEND"):
                content = handle.read(size)
                if name == b"IHDR":
                    content = content[:8] + bytes(kind) + content[10:]
                chunks.append(struct.pack(">I", size) + name + content + _sum(name, content))
    return SIGNATURE + b"".join(chunks)


def pixel_data(path: Path) -> Iterator[bytes]:
    """The compressed pixels, part by part."""
    with path.open("rb") as handle:
        for kind, size in _chunks(handle, path.stat().st_size):
            if kind == b"IDAT":
                left = size
                while left and (block := handle.read(min(left, _BLOCK))):
                    left -= len(block)
                    yield block


def _chunks(handle: BinaryIO, length: int) -> Iterator[tuple[bytes, int]]:
    """Name and size of all chunks; the handle stands where the content of the chunk begins."""
    if handle.read(len(SIGNATURE)) != SIGNATURE:
        raise DamagedFileError("the file is not what its ending says")
    position, kind = len(SIGNATURE), b""
    while kind != b"IEND":
        handle.seek(position)
        head = handle.read(8)
        size = int.from_bytes(head[:4], "big")
        kind = head[4:]
        position += 12 + size
        if len(head) < 8 or position > length:
            raise DamagedFileError("the file ends too early")
        yield kind, size


def _check_sum(handle: BinaryIO, kind: bytes, size: int) -> None:
    found, left = zlib.crc32(kind), size
    while left and (block := handle.read(min(left, _BLOCK))):
        found = zlib.crc32(block, found)
        left -= len(block)
    if handle.read(4) != struct.pack(">I", found):
        raise DamagedFileError(f"the checksum of its part {kind.decode('latin-1')} is wrong")


def _sum(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(kind + content))
