"""Is an image file whole? Checks that ITK leaves out.

ITK fills what is missing in a truncated .nii, .bmp or re-compressed .nii.gz with zeros or old memory, ignores a
failed decompression in .mha, and never looks at gzip checksums. Formats with checks of their own (PNG) and those
without any (TIFF, raw data of the right length) are left to ITK.
"""

from __future__ import annotations

import math
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import nibabel

_BLOCK = 1 << 18
_HEADER_LIMIT = 1 << 20
_ZLIB_OR_GZIP = 47


class DamagedFileError(Exception):
    """The file is not whole; the message says how that shows."""


def check_file(path: Path) -> None:
    """Verify length and checksums of an image file as far as its format allows.

    Compressed files are read to their end. Memory stays small.

    Raises:
        DamagedFileError: Data are missing or a checksum is wrong.
        OSError: The file cannot be read.
    """
    name = path.name.lower()
    try:
        if name.endswith(".nii.gz"):
            _expect(_inflate(path, 0), _nifti_bytes(path))
        elif name.endswith(".gz"):
            _inflate(path, 0)
        elif name.endswith(".nii"):
            _expect(path.stat().st_size, _nifti_bytes(path))
        elif name.endswith((".mha", ".mhd")):
            _check_attached(path, rb"ElementDataFile\s*=\s*(\S+)[^\n]*\n", rb"CompressedData\s*=\s*True")
        elif name.endswith((".nrrd", ".nhdr")):
            _check_attached(path, rb"\r?\n\r?\n", rb"encoding:\s*(gzip|gz)")
        elif name.endswith(".bmp"):
            _expect(path.stat().st_size, _bmp_bytes(path))
    except (zlib.error, struct.error, EOFError, nibabel.filebasedimages.ImageFileError) as error:
        raise DamagedFileError(str(error)) from error


def _expect(found: int, needed: int) -> None:
    if found < needed:
        raise DamagedFileError(f"the file holds {found} bytes of data, its header promises {needed}")


def _inflate(path: Path, start: int) -> int:
    """Decompress to the end, which verifies the checksum; returns the number of decompressed bytes."""
    total = 0
    with open(path, "rb") as handle:
        handle.seek(start)
        inflate = zlib.decompressobj(_ZLIB_OR_GZIP)
        while block := handle.read(_BLOCK):
            while block:
                total += len(inflate.decompress(block))
                block = inflate.unused_data.lstrip(b"\0") if inflate.eof else b""
                if block:
                    # gzip files may be concatenated (bgzip and others do it); zeros are padding.
                    inflate = zlib.decompressobj(_ZLIB_OR_GZIP)
    if not inflate.eof:
        raise DamagedFileError("the compressed data end too early")
    return total


def _nifti_bytes(path: Path) -> int:
    """Length that the header of a (decompressed) NIfTI file promises."""
    image: Any = nibabel.load(path)
    voxels = math.prod(int(size) for size in image.header.get_data_shape())
    return int(image.dataobj.offset) + voxels * int(image.header.get_data_dtype().itemsize)


def _check_attached(path: Path, end_of_header: bytes, compressed: bytes) -> None:
    """MetaImage and NRRD: a text header, then the data, in the same file or one that the header names."""
    with open(path, "rb") as handle:
        head = handle.read(_HEADER_LIMIT)
    end = re.search(end_of_header, head)
    header = head if end is None else head[: end.end()]
    if re.search(compressed, header, re.IGNORECASE) is None:
        return
    detached = re.search(rb"^(?:ElementDataFile\s*=|data ?file:)[ \t]*([^\r\n]+?)[ \t]*\r?$", header, re.I | re.M)
    if detached is None or detached[1] == b"LOCAL":
        _inflate(path, len(header))
    else:
        _inflate(path.parent / detached[1].decode(), 0)


def _bmp_bytes(path: Path) -> int:
    """Length that the header of an uncompressed bitmap promises; rows are padded to 4 bytes."""
    with open(path, "rb") as handle:
        head = handle.read(34)
    offset, _, width, height, _, bits, compression = struct.unpack_from("<IIiiHHI", head, 10)
    pixels = abs(height) * ((abs(width) * bits + 31) // 32) * 4
    return int(offset) + (int(pixels) if compression == 0 else 0)
