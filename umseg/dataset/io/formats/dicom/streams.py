"""Whether compressed pixels have the size that their DICOM file states: what a decoder is not asked, it cannot fill."""

from __future__ import annotations

import struct

from umseg.dataset.io.source import DamagedFileError

_JPEG_2000 = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.92", "1.2.840.10008.1.2.4.93")
_JPEG = tuple(f"1.2.840.10008.1.2.4.{number}" for number in (*range(50, 67), 70, 80, 81))
# Markers of JPEG without a length; those that begin a frame.
_BARE = {0x01, *range(0xD0, 0xDA)}
_START_OF_FRAME = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
# What encoders make is far below: more makes decoders slow, or ask for memory that a small file does not need.
_MOST_LAYERS = 256
_MOST_LEVELS = 32


def check_stream(stream: bytes, syntax: str, rows: int, columns: int) -> None:
    """Verify the size that a compressed image states.

    Raises:
        DamagedFileError: It is another one than that of the DICOM file, or is missing.
    """
    if syntax in _JPEG_2000:
        size = _size_of_jpeg_2000(stream)
    elif syntax in _JPEG:
        size = _size_of_jpeg(stream)
    else:
        return
    if size != (rows, columns):
        found = "no size" if size is None else f"{size[0]} rows and {size[1]} columns"
        raise DamagedFileError(f"the compressed pixels state {found}, the file {rows} rows and {columns} columns")


def _size_of_jpeg(stream: bytes) -> tuple[int, int] | None:
    """Rows and columns of the first frame."""
    position = 2
    while position + 9 <= len(stream):
        if stream[position] != 0xFF:
            return None
        marker = stream[position + 1]
        if marker == 0xFF:
            position += 1
        elif marker in _START_OF_FRAME:
            rows, columns = struct.unpack_from(">HH", stream, position + 5)
            return rows, columns
        elif marker in _BARE:
            position += 2
        else:
            position += 2 + int(struct.unpack_from(">H", stream, position + 2)[0])
    return None


def _size_of_jpeg_2000(stream: bytes) -> tuple[int, int] | None:
    """Rows and columns of the code stream, which some files put into a JP2 box."""
    start = stream.find(b"\xff\x4f\xff\x51")
    if start < 0 or start + 42 > len(stream):
        return None
    right, lower, left, upper = struct.unpack_from(">IIII", stream, start + 8)
    wide, high = struct.unpack_from(">II", stream, start + 24)
    tiles = -(-(right - left) // max(wide, 1)) * -(-(lower - upper) // max(high, 1))
    if tiles > 1 << 16:
        raise DamagedFileError(f"the compressed pixels are cut into {tiles} tiles")
    style = stream.find(b"\xff\x52", start)
    if style >= 0 and style + 12 <= len(stream):
        layers, levels = struct.unpack_from(">H", stream, style + 6)[0], stream[style + 9]
        if layers > _MOST_LAYERS or levels > _MOST_LEVELS:
            raise DamagedFileError(f"the compressed pixels have {layers} layers and {levels} resolutions")
    return lower - upper, right - left
