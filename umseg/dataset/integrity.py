"""Is an image file whole? Checks that ITK leaves out.

ITK fills what is missing in a truncated .nii, .bmp, .jpg or re-compressed .nii.gz with zeros, grey or old memory,
ignores a failed decompression in .mha, never looks at gzip checksums, and allocates whatever a header claims. Formats
with checks of their own (PNG) are left to ITK; what TIFF allows is checked where its pages are read (``stacks``).
"""

from __future__ import annotations

import math
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import nibabel

NIBABEL_ERRORS = (
    nibabel.filebasedimages.ImageFileError,
    nibabel.spatialimages.HeaderDataError,
    OSError,
    ValueError,
    EOFError,
    OverflowError,
    zlib.error,
)
"""What nibabel raises for a file that is no NIfTI, or a damaged one."""

_BLOCK = 1 << 18
_HEADER_LIMIT = 1 << 20
_ZLIB_OR_GZIP = 47
# No picture is smaller than this part of its pixels: deflate reaches 1:1030, LZW about 1:2600, JPEG less.
_BEST_COMPRESSION = 4096
_JPEG = (".jpg", ".jpeg")
_PICTURES = (".png", ".tif", ".tiff", *_JPEG)
_META_ENDINGS, _META_DIMENSIONS = (".mha", ".mhd"), 10
_RAW, _GZIP, _OTHER = "raw", "gzip", "other"


class DamagedFileError(Exception):
    """The file is not whole; the message says how that shows."""


def check_file(path: Path, voxel_bytes: int = 0) -> None:
    """Verify length and checksums of an image file as far as its format allows.

    Compressed files are read to their end. Memory stays small.

    Args:
        path: The file.
        voxel_bytes: Size of the voxels that its header promises, uncompressed. NIfTI and BMP files are asked
            themselves.

    Raises:
        DamagedFileError: Data are missing, a checksum is wrong, or the file cannot be read.
    """
    name = path.name.lower()
    try:
        if name.endswith(".nii.gz"):
            _expect(_inflate(path, 0), _nifti_bytes(path))
        elif name.endswith(".gz"):
            _inflate(path, 0)
        elif name.endswith(".nii"):
            _expect(path.stat().st_size, _nifti_bytes(path))
        elif name.endswith((*_META_ENDINGS, ".nrrd", ".nhdr")):
            _check_text_header(path, voxel_bytes)
        elif name.endswith(".bmp"):
            _expect(path.stat().st_size, _bmp_bytes(path))
        elif name.endswith(_PICTURES):
            _check_picture(path, voxel_bytes)
    except (struct.error, *NIBABEL_ERRORS) as error:
        raise DamagedFileError(str(error)) from error


def check_header(path: Path) -> None:
    """What must hold before ITK may look at a file: MetaImage writes behind its arrays for more than ten dimensions.

    Raises:
        DamagedFileError: The header claims so many, or several numbers of them.
        OSError: The file cannot be read.
    """
    if path.suffix.lower() not in _META_ENDINGS:
        return
    claims = re.findall(rb"^\s*NDims\s*=\s*([^\r\n]*)", _text_header(path), re.I | re.M)
    if len(claims) != 1 or not claims[0].strip().isdigit() or not 1 <= int(claims[0]) <= _META_DIMENSIONS:
        raise DamagedFileError("the header does not say how many dimensions there are")


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


def detached_data(path: Path) -> Path | None:
    """The file that holds the voxels of a MetaImage or NRRD header; None where they follow the header itself."""
    if not path.name.lower().endswith((*_META_ENDINGS, ".nrrd", ".nhdr")):
        return None
    return _detached(path, _text_header(path))


def _text_header(path: Path) -> bytes:
    end_of_header = rb"ElementDataFile\s*=[^\n]*\n" if path.suffix.lower() in _META_ENDINGS else rb"\r?\n\r?\n"
    with open(path, "rb") as handle:
        head = handle.read(_HEADER_LIMIT)
    end = re.search(end_of_header, head)
    return head if end is None else head[: end.end()]


def _detached(path: Path, header: bytes) -> Path | None:
    named = re.search(rb"^(?:ElementDataFile\s*=|data ?file:)[ \t]*([^\r\n]+?)[ \t]*\r?$", header, re.I | re.M)
    if named is None or named[1] == b"LOCAL":
        return None
    data = path.parent / named[1].decode(errors="surrogateescape")
    # A list of files or a pattern of names is no file; ITK follows them.
    return data if data.is_file() else None


def _check_text_header(path: Path, voxel_bytes: int) -> None:
    """MetaImage and NRRD: a text header, then the data, in the same file or one that the header names."""
    header = _text_header(path)
    meta = path.suffix.lower() in _META_ENDINGS
    encoding = _meta_encoding(header) if meta else _nrrd_encoding(header)
    data = _detached(path, header)
    if data is None and re.search(rb"^(?:ElementDataFile\s*=(?!\s*LOCAL)|data ?file:)", header, re.I | re.M):
        return
    file, start = (path, len(header)) if data is None else (data, 0)
    if encoding == _GZIP:
        _expect(_inflate(file, start), voxel_bytes)
    elif encoding == _RAW:
        _expect(file.stat().st_size - start, voxel_bytes)


def _meta_encoding(header: bytes) -> str:
    if re.search(rb"^CompressedData\s*=\s*True", header, re.I | re.M):
        return _GZIP
    return _OTHER if re.search(rb"^BinaryData\s*=\s*False", header, re.I | re.M) else _RAW


def _nrrd_encoding(header: bytes) -> str:
    found = re.search(rb"^encoding:\s*(\w+)", header, re.I | re.M)
    return {b"gzip": _GZIP, b"gz": _GZIP, b"raw": _RAW}.get(found[1].lower() if found else b"", _OTHER)


def check_compression(path: Path, voxel_bytes: int) -> None:
    """Whether a file can hold so many bytes of voxels at all, compressed as well as may be.

    Raises:
        DamagedFileError: It cannot.
    """
    size = path.stat().st_size
    if voxel_bytes > size * _BEST_COMPRESSION:
        raise DamagedFileError(f"the header promises {voxel_bytes} bytes of pixels, more than {size} bytes can hold")


def _check_picture(path: Path, voxel_bytes: int) -> None:
    check_compression(path, voxel_bytes)
    if path.suffix.lower() in _JPEG and not _ends_as_jpeg(path.read_bytes()):
        raise DamagedFileError("the compressed data end too early")


def _ends_as_jpeg(content: bytes) -> bool:
    """Whether the markers of a JPEG lead to its end marker; a thumbnail's own end marker lies inside a segment."""
    position = 2
    while position + 4 <= len(content) and content[position] == 0xFF:
        marker = content[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        position += 2 + int.from_bytes(content[position + 2 : position + 4], "big")
        if marker == 0xDA:
            # Behind the header of a scan lie its data; in them 0xFF is followed by 0 or by a restart marker.
            found = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL).search(content, position)
            if found is None:
                return False
            position = found.start()
            if content[position + 1] == 0xD9:
                return True
    return False


def _bmp_bytes(path: Path) -> int:
    """Length that the header of an uncompressed bitmap promises; rows are padded to 4 bytes."""
    with open(path, "rb") as handle:
        head = handle.read(34)
    offset, _, width, height, _, bits, compression = struct.unpack_from("<IIiiHHI", head, 10)
    pixels = abs(height) * ((abs(width) * bits + 31) // 32) * 4
    return int(offset) + (int(pixels) if compression == 0 else 0)
