"""PNG and BMP files written byte by byte, with every number of bits and every kind of colours."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

GREY, COLOURS, PALETTE, GREY_ALPHA, COLOURS_ALPHA = 0, 2, 3, 4, 6
_PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def packed_rows(values: NDArray[Any], bits: int, multiple: int = 1) -> list[bytes]:
    """Rows (y, x * components) of numbers of some bits, filled up to a multiple of bytes."""
    wide = values.reshape(len(values), -1).astype(np.uint32)[..., None] >> np.arange(bits)[::-1] & 1
    rows = np.packbits(wide.reshape(len(values), -1).astype(np.uint8), axis=1)
    return [row.tobytes() + bytes(-len(row) % multiple) for row in rows]


def write_png(
    path: Path,
    values: NDArray[Any],
    bits: int,
    kind: int,
    palette: NDArray[Any] | None = None,
    transparent: bytes | None = None,
    interlaced: bool = False,
    orientation: int | None = None,
) -> Path:
    """Write numbers (y, x[, components]) as they are, without filters."""
    height, width = values.shape[:2]
    passes = _PASSES if interlaced else ((0, 0, 1, 1),)
    parts = [values[row::rows, column::columns] for row, column, rows, columns in passes]
    rows = [b"\0" + row for part in parts if part.size for row in packed_rows(part, bits)]
    content = b"\x89PNG\r\n\x1a\n"
    content += chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, int(interlaced)))
    if palette is not None:
        content += chunk(b"PLTE", palette.astype(np.uint8).tobytes())
    if transparent is not None:
        content += chunk(b"tRNS", transparent)
    if orientation is not None:
        content += chunk(b"eXIf", exif(orientation))
    path.write_bytes(content + chunk(b"IDAT", zlib.compress(b"".join(rows))) + chunk(b"IEND", b""))
    return path


def exif(orientation: int) -> bytes:
    """EXIF data that state an orientation."""
    return struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, 274, 3, 1, orientation, 0)


def write_bmp(
    path: Path,
    values: NDArray[Any],
    bits: int,
    palette: NDArray[Any] | None = None,
    runs: bool = False,
    old: bool = False,
    from_top: bool = False,
    masks: tuple[int, ...] = (),
) -> Path:
    """Write indices (y, x) with a palette (n, 3), colours (y, x, 3 or 4) of 8 bits, or numbers (y, x) of 16 bits."""
    height, width = values.shape[:2]
    stored = values if from_top else values[::-1]
    if bits == 16:
        data = b"".join(row.tobytes() + bytes(-len(row.tobytes()) % 4) for row in stored.astype("<u2"))
    elif values.ndim == 3:
        data = b"".join(packed_rows(stored[..., [2, 1, 0, 3][: values.shape[2]]], 8, 4))
    elif runs:
        shift = 4 if bits == 4 else 0
        data = b"".join(b"".join(bytes([1, int(value) << shift]) for value in row) + b"\0\0" for row in stored)
        data = data[:-2] + b"\0\1"
    else:
        data = b"".join(packed_rows(stored, bits, 4))
    compression = (3 if masks else 0) if not runs else {8: 1, 4: 2}[bits]
    colours = (
        b"" if palette is None else b"".join(bytes([*row[::-1], *([] if old else [0])]) for row in palette.tolist())
    )
    if old:
        info = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        extra = struct.pack("<4I4s48x", *masks, b"BGRs") if masks else b""
        size = -height if from_top else height
        fields = (40 + len(extra), width, size, 1, bits, compression, len(data), 0, 0, 0, 0)
        info = struct.pack("<IiiHHIIiiII", *fields) + extra
    start = 14 + len(info) + len(colours)
    path.write_bytes(b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + info + colours + data)
    return path
