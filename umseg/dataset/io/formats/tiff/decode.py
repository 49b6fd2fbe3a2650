"""The numbers in the strips and tiles of a TIFF page: decompressed, unpacked, and placed in an array.

tifffile reads the tags. It decodes only some compressions without another package, and those without a limit; libtiff,
which Pillow brings, decodes the others.
"""

from __future__ import annotations

import io
import itertools
import math
import struct
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import features
from PIL.TiffImagePlugin import TiffImageFile
from tifffile import FileHandle, TiffPage

from umseg.dataset.io.formats.damage import expect_bytes, inflate
from umseg.dataset.io.source import DamagedFileError, last_line

Places = Sequence[tuple[int, int]]
"""Offset and length of the strips or tiles of a page."""

_PLAIN, _DEFLATE, _CCITT = 1, (8, 32946), (2, 3, 4)
# CCITT's codes of fax machines, LZW, PackBits, LZMA and Zstandard.
_LIBTIFF = (*_CCITT, 5, 32773, 34925, 50000)
_NO_PREDICTOR, _DIFFERENCES, _FLOATING_POINT = 1, 2, 3
# Bytes of strips or tiles that are decompressed together: each call of libtiff takes its time, all need memory.
_BLOCK = 1 << 24
_WHOLE_BYTES = (8, 16, 32, 64)
_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
# How the codes of fax machines use two dimensions.
_CCITT_OPTIONS = (292, 293)
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_OFFSETS, _SAMPLES, _ROWS, _LENGTHS = 273, 277, 278, 279
# A byte that is zero in the compressions that libtiff may lack.
_ONE_ZERO = {
    34925: bytes.fromhex(
        "fd377a585a0000016922de360200210116000000742fe5a301000000000000008def02d2"
        "00011501a96334609042990d010000000001595a"
    ),
    50000: bytes.fromhex("28b52ffd200109000000"),
}


def can_decode(page: TiffPage) -> bool:
    """Whether the numbers of a page can be decoded here."""
    bits = page.bitspersample
    if page.dtype is None or page.compression not in (_PLAIN, *_DEFLATE, *_LIBTIFF):
        return False
    if page.compression in _LIBTIFF and not _libtiff_knows(page.compression):
        return False
    if page.compression in _CCITT and (bits, page.samplesperpixel) != (1, 1):
        return False
    if bits not in _WHOLE_BYTES:
        # Numbers that lie across the borders of bytes.
        return bits < 16 and page.dtype.kind in "bu" and page.predictor == _NO_PREDICTOR
    allowed = [_NO_PREDICTOR, _DIFFERENCES, *([_FLOATING_POINT] if page.dtype.kind == "f" else [])]
    return page.dtype.itemsize * 8 == bits and page.predictor in allowed


def decode_page(handle: FileHandle, page: TiffPage, places: Places) -> NDArray[Any]:
    """The numbers of a page as they are stored, (planes, y, x, components of a pixel); 1 bit as 0 and 1.

    Args:
        handle: The file.
        page: The page whose tags say how the numbers are stored.
        places: Where the strips or tiles of this page lie.

    Raises:
        DamagedFileError: They cannot be decoded, or are too few.
    """
    planes, _, height, width, contiguous = page.shaped
    down, across = _segments(page)
    rows = page.tilelength if page.is_tiled else min(page.rowsperstrip, height)
    columns = page.tilewidth if page.is_tiled else width
    values = np.empty((planes, height, width, contiguous), _number_type(page))
    # All strips are equally long but for the last one of a plane.
    lengths = [rows if page.is_tiled else min(rows, height - index * rows) for index in range(down * across)]
    together = max(1, _BLOCK // max(1, rows * columns * contiguous * page.bitspersample // 8))
    for plane, first in itertools.product(range(planes), range(0, down * across, together)):
        group = range(first, min(first + together, down * across))
        data = []
        for offset, size in places[plane * down * across + group.start : plane * down * across + group.stop]:
            handle.seek(offset)
            data.append(handle.read(size))
        counts = [lengths[index] for index in group]
        for index, plain in zip(group, _decompress(page, data, counts, columns * contiguous), strict=True):
            y, x = index // across * rows, index % across * columns
            part = _numbers(page, plain, (lengths[index], columns, contiguous))
            area = values[plane, y:, x:]
            area[: len(part), : part.shape[1]] = part[: area.shape[0], : area.shape[1]]
    return values


def segment_count(page: TiffPage) -> int:
    """Number of strips or tiles that a page needs."""
    return int(page.shaped[0]) * math.prod(_segments(page))


def _segments(page: TiffPage) -> tuple[int, int]:
    """Number of strips or tiles of a plane along y and x."""
    _, _, height, width, _ = page.shaped
    if page.is_tiled:
        return math.ceil(height / page.tilelength), math.ceil(width / page.tilewidth)
    return math.ceil(height / page.rowsperstrip), 1


def _number_type(page: TiffPage) -> np.dtype[Any]:
    dtype = np.dtype(page.dtype)
    return np.dtype(np.uint8) if dtype.kind == "b" else dtype.newbyteorder("=")


def _decompress(page: TiffPage, data: Sequence[bytes], rows: Sequence[int], numbers: int) -> list[bytes]:
    """The plain bytes of strips or tiles, which have so many rows of so many numbers."""
    row = (numbers * page.bitspersample + 7) // 8
    if page.compression in _LIBTIFF:
        plain = _by_libtiff(page, data, rows, numbers)
        ends = list(itertools.accumulate(row * count for count in rows))
        return [plain[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    if page.fillorder != 1:
        data = [part.translate(_REVERSED_BITS) for part in data]
    if page.compression in _DEFLATE:
        return [inflate(part, row * count) for part, count in zip(data, rows, strict=True)]
    for part, count in zip(data, rows, strict=True):
        expect_bytes(len(part), row * count)
    return list(data)


def _by_libtiff(page: TiffPage, data: Sequence[bytes], rows: Sequence[int], numbers: int) -> bytes:
    """Decompress strips or tiles as the strips of a page of bytes, or of bits where the compression knows only these.

    What the numbers mean is thus left to this module: Pillow and libtiff would change some of them.
    """
    bits = 1 if page.compression in _CCITT else 8
    width = numbers if bits == 1 else (numbers * page.bitspersample + 7) // 8
    options = [page.tags.get(code) for code in _CCITT_OPTIONS]
    fields = {tag.code: int(tag.value) for tag in options if tag is not None and tag.count == 1}
    fields |= {_WIDTH: width, _HEIGHT: sum(rows), _BITS: bits, _COMPRESSION: int(page.compression)}
    return _unpack({**fields, _FILL_ORDER: page.fillorder, _ROWS: rows[0]}, data)


def _unpack(fields: Mapping[int, int], strips: Sequence[bytes]) -> bytes:
    """The plain bytes of strips, which Pillow and libtiff decompress as those of a TIFF file in memory."""
    starts = list(itertools.accumulate(map(len, strips), initial=0))[:-1]
    all_fields: dict[int, Sequence[int]] = {tag: (value,) for tag, value in fields.items()}
    all_fields |= {_PHOTOMETRIC: (1,), _SAMPLES: (1,), _OFFSETS: starts, _LENGTHS: [len(strip) for strip in strips]}
    try:
        with TiffImageFile(io.BytesIO(_little_tiff(all_fields, b"".join(strips)))) as picture:
            return bytes(picture.tobytes())
    except MemoryError:
        raise
    except Exception as error:  # whatever Pillow trips over
        raise DamagedFileError(f"its pixels cannot be decompressed: {last_line(error)}") from error


@cache
def _libtiff_knows(compression: int) -> bool:
    """Whether Pillow's libtiff has been built with a compression; some are without the newer ones."""
    if not features.check("libtiff"):
        return False
    fields = {_WIDTH: 1, _HEIGHT: 1, _BITS: 8, _COMPRESSION: compression, _ROWS: 1}
    try:
        return compression not in _ONE_ZERO or _unpack(fields, [_ONE_ZERO[compression]]) == b"\0"
    except DamagedFileError:
        return False


def _little_tiff(fields: dict[int, Sequence[int]], data: bytes) -> bytes:
    """A TIFF file of one page. The offsets of its strips are those in ``data``."""
    table_end = 8 + 2 + 12 * len(fields) + 4
    start = table_end + sum(4 * len(values) for values in fields.values() if len(values) > 1)
    table, far = b"", b""
    for tag, values in sorted(fields.items()):
        numbers = struct.pack(f"<{len(values)}I", *(value + (start if tag == _OFFSETS else 0) for value in values))
        place = numbers if len(values) == 1 else struct.pack("<I", table_end + len(far))
        table += struct.pack("<HHI", tag, 4, len(values)) + place
        far += b"" if len(values) == 1 else numbers
    return struct.pack("<2sHIH", b"II", 42, 8, len(fields)) + table + bytes(4) + far + data


def _numbers(page: TiffPage, plain: bytes, shape: tuple[int, int, int]) -> NDArray[Any]:
    """Unpack the numbers of a strip or tile, (rows, columns, components), and undo their predictor."""
    rows, columns, components = shape
    bits = page.bitspersample
    dtype = _number_type(page)
    stored = dtype.newbyteorder(page.parent.byteorder)
    if bits not in _WHOLE_BYTES:
        every = np.unpackbits(np.frombuffer(plain, np.uint8).reshape(rows, -1), axis=1)
        every = every[:, : columns * components * bits].reshape(*shape, bits)
        return every @ (1 << np.arange(bits, dtype=dtype)[::-1])
    if page.predictor == _FLOATING_POINT:
        return _from_planes_of_bytes(np.frombuffer(plain, np.uint8), shape, dtype)
    values = np.frombuffer(plain, stored, math.prod(shape)).reshape(shape)
    if page.predictor == _DIFFERENCES:
        # Floating-point numbers count as whole numbers here. Sums wrap around, as they should.
        whole = values.astype(dtype).view(f"u{dtype.itemsize}")
        values = np.cumsum(whole, axis=1, dtype=whole.dtype).view(dtype)
    return values


def _from_planes_of_bytes(plain: NDArray[np.uint8], shape: tuple[int, int, int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Undo the predictor for floating-point numbers: rows of their first bytes, then of their second bytes, ...

    Each byte is stored as the difference from that of the pixel before.
    """
    rows, columns, components = shape
    size = dtype.itemsize
    every = np.cumsum(plain.reshape(rows, columns * size, components), axis=1, dtype=np.uint8)
    ordered = every.reshape(rows, size, columns * components).swapaxes(1, 2)
    return np.ascontiguousarray(ordered).view(f">f{size}").reshape(shape).astype(dtype)
