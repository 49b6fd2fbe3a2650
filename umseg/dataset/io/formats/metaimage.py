"""MetaImage: ``.mha``, and ``.mhd`` with its voxels in a file beside it."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from umseg.dataset.io.formats.text_header import (
    TextHeader,
    TextHeaderFormat,
    extents,
    integers,
    numbers,
    printable,
    unit_notices,
    unusable,
    voxels_beside,
    without_single_axes,
)
from umseg.dataset.io.formats.text_voxels import Encoding, StoredVoxels
from umseg.dataset.io.grid import Geometry
from umseg.dataset.io.source import DamagedFileError

# MetaIO has arrays for so many.
_MOST_DIMENSIONS = 10
_END = re.compile(rb"^[ \t]*ElementDataFile[^\n]*\n", re.M)
_FIELD = re.compile(rb"[ \t]*(\w+)[ \t]*=[ \t]*(.*?)[ \t]*\r?")
_IN_THE_FILE = (b"LOCAL", b"Local", b"local")
_TYPES = {
    b"MET_CHAR": "i1",
    b"MET_UCHAR": "u1",
    b"MET_SHORT": "i2",
    b"MET_USHORT": "u2",
    b"MET_INT": "i4",
    b"MET_UINT": "u4",
    # In MetaIO a long has 32 bits on every machine.
    b"MET_LONG": "i4",
    b"MET_ULONG": "u4",
    b"MET_LONG_LONG": "i8",
    b"MET_ULONG_LONG": "u8",
    b"MET_FLOAT": "f4",
    b"MET_DOUBLE": "f8",
}
# Fields with several names; of those that a header has, MetaIO takes the last of this order.
_SPACING = ("ElementSize", "ElementSpacing")
_ORIGIN = ("Position", "Offset", "Origin")
_DIRECTION = ("Orientation", "Rotation", "TransformMatrix")
_BYTE_ORDER = ("ElementByteOrderMSB", "BinaryDataByteOrderMSB")


class MetaImage(TextHeaderFormat):
    """MetaImage files."""

    name = "MetaImage"
    endings = (".mha", ".mhd")
    image_io = "MetaImageIO"
    end_of_header = _END

    def parse(self, path: Path, content: bytes) -> TextHeader:
        """As in :class:`TextHeaderFormat`."""
        # The place of the voxels ends the header. What only looks like it, and other parsers might take for it, is
        # refused.
        start = content.find(b"\n", content.find(b"ElementDataFile")) + 1
        header = content[: start or len(content)]
        fields = _fields(header)
        if "ElementDataFile" not in fields:
            raise DamagedFileError("the header does not say where the voxels are")
        dimensions = fields.get("NDims", b"")
        if not dimensions.isdigit() or not 1 <= int(dimensions[:9]) <= _MOST_DIMENSIONS:
            raise DamagedFileError("the header does not say how many dimensions there are")
        kind = fields.get("ObjectType", b"Image")
        if kind.lower() != b"image":
            raise unusable(path, "The MetaImage file holds no image.", printable(kind), "ObjectType = Image")
        axes = int(dimensions)
        size = extents("DimSize", fields.get("DimSize", b""), axes)
        channels = integers("ElementNumberOfChannels", fields.get("ElementNumberOfChannels", b"1"), 1)[0]
        if channels < 1:
            raise DamagedFileError("the field ElementNumberOfChannels is less than 1")
        geometry = without_single_axes(_geometry(fields, size))
        place = fields["ElementDataFile"]
        inside = place in _IN_THE_FILE
        stored = _stored(
            path,
            fields,
            path if inside else voxels_beside(path, place),
            len(header) if inside else 0,
            math.prod(size) * channels,
        )
        notices = unit_notices(path, [printable(fields.get("DistanceUnits", b""))])
        if channels == 1:
            return TextHeader(stored, size, None, geometry, notices)
        return TextHeader(stored, (channels, *size), 0, geometry, notices)


def _fields(header: bytes) -> dict[str, bytes]:
    """The fields of a header by their names; lines of another form are left out, as by MetaIO.

    Raises:
        DamagedFileError: A field occurs twice, so that it may be understood in two ways.
    """
    fields: dict[str, bytes] = {}
    for line in header.split(b"\n"):
        found = _FIELD.fullmatch(line)
        if found is None:
            continue
        name = found[1].decode("latin-1")
        if name in fields:
            problem = "how many dimensions there are" if name == "NDims" else f"one value of {name}"
            raise DamagedFileError(f"the header does not say {problem}: it has the field twice")
        fields[name] = found[2]
    return fields


def _geometry(fields: dict[str, bytes], size: tuple[int, ...]) -> Geometry:
    axes = len(size)
    spacing, origin, direction = (_last(fields, names) for names in (_SPACING, _ORIGIN, _DIRECTION))
    # Its rows are the directions of the axes.
    matrix = (
        np.eye(axes) if direction is None else np.reshape(numbers(direction, fields[direction], axes**2), [axes] * 2)
    )
    return Geometry(
        size,
        (1.0,) * axes if spacing is None else numbers(spacing, fields[spacing], axes),
        (0.0,) * axes if origin is None else numbers(origin, fields[origin], axes),
        tuple(matrix.T.ravel().tolist()),
        None if spacing is None else "mm",
    )


def _stored(path: Path, fields: dict[str, bytes], file: Path, start: int, count: int) -> StoredVoxels:
    element = fields.get("ElementType", b"")
    code = _TYPES.get(element.removesuffix(b"_ARRAY"))
    if code is None:
        raise unusable(
            path,
            "The numbers of a MetaImage file have an unknown type.",
            printable(element) or "no ElementType",
            ", ".join(name.decode() for name in _TYPES),
        )
    order = _last(fields, _BYTE_ORDER)
    big = sys.byteorder == "big" if order is None else _is_true(fields[order])
    encoding: Encoding = "raw"
    if _is_true(fields.get("CompressedData", b"")):
        encoding = "gzip"
    elif not _is_true(fields.get("BinaryData", b"True")):
        encoding = "text"
    length = fields.get("CompressedDataSize") if encoding == "gzip" else None
    skip = integers("HeaderSize", fields.get("HeaderSize", b"0"), 1)[0]
    if skip < -1:
        raise DamagedFileError("the field HeaderSize is negative")
    if skip > 0:
        # Counted from the beginning of the file.
        start, skip = skip, 0
    return StoredVoxels(
        file,
        start,
        encoding,
        np.dtype((">" if big else "<") + code),
        count,
        skip=skip,
        packed_length=None if length is None else integers("CompressedDataSize", length, 1)[0],
    )


def _last(fields: dict[str, bytes], names: Sequence[str]) -> str | None:
    """The last of several names that a header has."""
    return next((name for name in reversed(names) if name in fields), None)


def _is_true(text: bytes) -> bool:
    return text[:1] in (b"T", b"t", b"1")
