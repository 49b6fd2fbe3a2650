"""NRRD: ``.nrrd``, and ``.nhdr`` with its voxels in a file beside it. http://teem.sourceforge.net/nrrd/format.html."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from umseg.dataset.io.formats.itk import complex_values
from umseg.dataset.io.formats.nrrd_axes import component_axis, nrrd_geometry, space_units
from umseg.dataset.io.formats.text_header import (
    MOST_AXES,
    TextHeader,
    TextHeaderFormat,
    extents,
    integers,
    printable,
    unit_notices,
    unusable,
    voxels_beside,
    without_single_axes,
)
from umseg.dataset.io.formats.text_voxels import Encoding, StoredVoxels
from umseg.dataset.io.source import DamagedFileError

_MAGIC = re.compile(rb"NRRD\d{4}\r?\n")
_END = re.compile(rb"\n\r?\n")
_TYPES = {
    "i1": "signed char, int8, int8_t",
    "u1": "uchar, unsigned char, uint8, uint8_t",
    "i2": "short, short int, signed short, signed short int, int16, int16_t",
    "u2": "ushort, unsigned short, unsigned short int, uint16, uint16_t",
    "i4": "int, signed int, int32, int32_t",
    "u4": "uint, unsigned int, uint32, uint32_t",
    "i8": "longlong, long long, long long int, signed long long, signed long long int, int64, int64_t",
    "u8": "ulonglong, unsigned long long, unsigned long long int, uint64, uint64_t",
    "f4": "float",
    "f8": "double",
}
_CODE_OF = {name: code for code, names in _TYPES.items() for name in names.split(", ")}
_ENCODINGS: dict[str, Encoding] = {
    "raw": "raw",
    "gzip": "gzip",
    "gz": "gzip",
    "bzip2": "bzip2",
    "bz2": "bzip2",
    "txt": "text",
    "text": "text",
    "ascii": "text",
    "hex": "hex",
}
# Fields without the spaces that some of them may have; those that describe the voxels, and those that are not needed.
_USED = {
    *("type", "dimension", "sizes", "spacings", "axismins", "axismaxs", "centers", "centerings", "kinds"),
    *("space", "spacedimension", "spaceunits", "spaceorigin", "spacedirections"),
    *("encoding", "endian", "datafile", "lineskip", "byteskip"),
}
_UNUSED = {
    *("thicknesses", "labels", "units", "min", "max", "oldmin", "oldmax", "content", "number", "sampleunits"),
    *("measurementframe", "blocksize"),
}


class Nrrd(TextHeaderFormat):
    """NRRD files."""

    name = "NRRD"
    endings = (".nrrd", ".nhdr")
    image_io = "NrrdImageIO"
    end_of_header = _END

    def parse(self, path: Path, content: bytes) -> TextHeader:
        """As in :class:`TextHeaderFormat`."""
        if not _MAGIC.match(content):
            raise DamagedFileError("the file does not begin as a NRRD file")
        end = _END.search(content)
        header = content if end is None else content[: end.end()]
        fields = _fields(header)
        if end is None and "datafile" not in fields:
            raise DamagedFileError("the header does not end")
        axes = integers("dimension", fields.get("dimension", b""), 1)[0]
        if not 1 <= axes <= MOST_AXES:
            raise DamagedFileError(f"the field dimension is {axes}")
        sizes = extents("sizes", fields.get("sizes", b""), axes)
        kinds = _words("kinds", fields, axes)
        if "complex" in kinds:
            raise complex_values(path, "kind complex")
        components = component_axis(path, fields, kinds)
        geometry = without_single_axes(nrrd_geometry(path, fields, sizes, components))
        if components is not None and sizes[components] < 1:
            raise unusable(path, "The image has no voxels.", "no components", "at least one number per voxel")
        stored = _stored(path, fields, len(header), math.prod(sizes))
        return TextHeader(stored, sizes, components, geometry, unit_notices(path, space_units(fields)))


def _fields(header: bytes) -> dict[str, bytes]:
    """The fields of a header by their names, in small letters and without spaces.

    Comments and pairs of key and value, which describe no voxels, are left out.

    Raises:
        DamagedFileError: A line is neither; a field is unknown, or occurs twice.
    """
    fields: dict[str, bytes] = {}
    for line in header.split(b"\n")[1:]:
        text = line.removesuffix(b"\r")
        if not text or text.startswith(b"#"):
            continue
        name, colon, value = text.partition(b":")
        if not colon:
            raise DamagedFileError(f"a line of the header is no field: {printable(text)}")
        if value.startswith(b"="):
            continue
        key = name.decode("latin-1").replace(" ", "").lower()
        if key in fields:
            place = " of the voxels: it names two places" if key == "datafile" else ""
            raise DamagedFileError(f"the header has the field {printable(name)} twice{place}")
        if key not in _USED | _UNUSED:
            raise DamagedFileError(f"the header has a field that NRRD does not know: {printable(name)}")
        fields[key] = value.strip()
        if key == "datafile" and fields[key].startswith(b"LIST"):
            # The names of files follow, up to the end of the header.
            break
    return fields


def _words(field: str, fields: dict[str, bytes], count: int) -> list[str]:
    """The words of a field in small letters, "???" (unknown) where the header does not have it."""
    if field not in fields:
        return ["???"] * count
    words = fields[field].decode("latin-1").lower().split()
    if len(words) != count:
        raise DamagedFileError(f"the field {field} has {len(words)} values, not {count}")
    return words


def _stored(path: Path, fields: dict[str, bytes], header_length: int, count: int) -> StoredVoxels:
    kind = " ".join(fields.get("type", b"").decode("latin-1").lower().split())
    if kind not in _CODE_OF:
        raise unusable(
            path,
            "The numbers of a NRRD file have a type that cannot be read.",
            printable(kind) or "no type",
            ", ".join(names.split(", ")[-1].removesuffix("_t") for names in _TYPES.values()),
        )
    named = fields.get("encoding", b"").decode("latin-1").lower()
    if named not in _ENCODINGS:
        raise unusable(
            path,
            "The voxels of a NRRD file have an encoding that cannot be read.",
            printable(named) or "no encoding",
            "raw, gzip, bzip2, ascii or hex",
        )
    code = _CODE_OF[kind]
    endian = fields.get("endian", b"").lower()
    if not endian and code[1] != "1" and _ENCODINGS[named] != "text":
        raise DamagedFileError("the header does not say in which order the bytes of a number are")
    if endian not in (b"", b"little", b"big"):
        raise DamagedFileError(f"the field endian is neither little nor big: {printable(endian)}")
    lines, skip = (integers(field, fields.get(field, b"0"), 1)[0] for field in ("lineskip", "byteskip"))
    if lines < 0 or skip < -1 or (skip == -1 and _ENCODINGS[named] != "raw"):
        raise DamagedFileError("the fields line skip or byte skip are negative")
    order = {b"little": "<", b"big": ">"}.get(endian, "=")
    beside = fields.get("datafile")
    return StoredVoxels(
        path if beside is None else voxels_beside(path, beside),
        header_length if beside is None else 0,
        _ENCODINGS[named],
        np.dtype(order + code),
        count,
        lines,
        skip,
    )
