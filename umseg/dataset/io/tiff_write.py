"""Writing TIFF stacks that say how far their slices are apart, which ITK's writer cannot."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from umseg.dataset.io.grid import Unit

# Fields of TIFF 6.0, and their values here.
_WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC, _DESCRIPTION = 256, 257, 258, 259, 262, 270
_STRIPS, _SAMPLES, _ROWS, _STRIP_BYTES, _X_RESOLUTION, _Y_RESOLUTION, _UNIT = 273, 277, 278, 279, 282, 283, 296
_DEFLATE, _BLACK_IS_ZERO, _NO_UNIT = 8, 1, 1
_TEXT, _LONG, _RATIONAL, _LONG8 = 2, 4, 5, 16
_LARGEST_LONG = (1 << 32) - 1
# Larger stacks are written as BigTIFF: offsets in a plain TIFF have 32 bits.
_PLAIN_LIMIT = 1 << 31

_Value = int | bytes | tuple[int, int]


def write_stack(
    path: Path, array: NDArray[np.unsignedinteger[Any]], spacing: Sequence[float], unit: Unit | None
) -> None:
    """Write a grey-scale stack, deflated, with its spacing where ImageJ looks for it.

    Args:
        path: Of the file.
        array: (z, y, x), 8, 16 or 32 bits.
        spacing: (x, y, z).
        unit: Of the spacing; None: the file does not say the spacing.
    """
    depth, height, width = array.shape
    text = f"ImageJ=1.11a\nimages={depth}\nslices={depth}\n"
    common: dict[int, _Value] = {_WIDTH: width, _LENGTH: height, _ROWS: height, _BITS: array.itemsize * 8, _SAMPLES: 1}
    common |= {_COMPRESSION: _DEFLATE, _PHOTOMETRIC: _BLACK_IS_ZERO, _UNIT: _NO_UNIT}
    if unit is not None:
        x, y, z = map(float, spacing)
        text += ("unit=mm\n" if unit == "mm" else "") + f"spacing={z!r}\n"
        common |= {_X_RESOLUTION: _ratio(1 / x), _Y_RESOLUTION: _ratio(1 / y)}
    big = array.nbytes > _PLAIN_LIMIT
    with open(path, "wb") as handle:
        handle.write(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 16) if big else struct.pack("<2sHI", b"II", 42, 8))
        for number, plane in enumerate(array):
            first: dict[int, _Value] = {_DESCRIPTION: text.encode() + b"\0"} if number == 0 else {}
            pixels = zlib.compress(np.ascontiguousarray(plane, plane.dtype.newbyteorder("<")).tobytes())
            _write_page(handle, {**common, **first}, pixels, big, last=number == depth - 1)


def _write_page(handle: BinaryIO, values: Mapping[int, _Value], pixels: bytes, big: bool, last: bool) -> None:
    """The directory of a page, then what does not fit into its entries, then the pixels."""
    word, count_word, entry = ("Q", "Q", 20) if big else ("I", "H", 12)
    inline = struct.calcsize(f"<{word}")
    fields = {tag: _encode(value, big) for tag, value in values.items()}
    length = struct.calcsize(f"<{count_word}") + (len(fields) + 2) * entry + inline
    tail_at = handle.tell() + length
    pixels_at = tail_at + sum(len(raw) for _, _, raw in fields.values() if len(raw) > inline)
    fields |= {_STRIPS: _encode(pixels_at, big), _STRIP_BYTES: _encode(len(pixels), big)}
    table, tail = struct.pack(f"<{count_word}", len(fields)), b""
    for tag, (kind, count, raw) in sorted(fields.items()):
        content = raw.ljust(inline, b"\0")
        if len(raw) > inline:
            content, tail = struct.pack(f"<{word}", tail_at + len(tail)), tail + raw
        table += struct.pack(f"<HH{word}", tag, kind, count) + content
    # Every page begins at an even offset.
    padding = b"\0" * (len(pixels) % 2)
    following = 0 if last else pixels_at + len(pixels) + len(padding)
    handle.write(table + struct.pack(f"<{word}", following) + tail + pixels + padding)


def _encode(value: _Value, big: bool) -> tuple[int, int, bytes]:
    """Type, count and bytes of a field; bytes of even length."""
    if isinstance(value, bytes):
        return _TEXT, len(value), value + b"\0" * (len(value) % 2)
    if isinstance(value, tuple):
        return _RATIONAL, 1, struct.pack("<II", *value)
    return (_LONG8, 1, struct.pack("<Q", value)) if big else (_LONG, 1, struct.pack("<I", value))


def _ratio(value: float) -> tuple[int, int]:
    """The fraction of two 32-bit numbers next to a positive value."""
    found = Fraction(value).limit_denominator(max(1, int(_LARGEST_LONG / max(value, 1.0)) - 1))
    return min(max(found.numerator, 1), _LARGEST_LONG), found.denominator
