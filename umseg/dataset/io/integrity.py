"""Is an image file whole? Checks that ITK leaves out.

ITK fills what is missing in a truncated .nii, .bmp, .jpg or re-compressed .nii.gz with zeros, grey or old memory,
ignores a failed decompression in .mha, never looks at gzip checksums, and allocates whatever a header claims. Formats
with checks of their own (PNG) are left to ITK; what TIFF allows is checked where its pages are read (``stacks``).
"""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from pathlib import Path
from typing import Any, cast

import nibabel
from isal import isal_zlib

from umseg.common.errors import UserError
from umseg.dataset.io.formats import LOSSY_ENDINGS, NIFTI_ENDINGS, TIFF_ENDINGS, has_ending
from umseg.dataset.io.source import DamagedFileError
from umseg.dataset.io.text_header import GZIP, RAW, has_text_header, read_text_header

NIBABEL_ERRORS = (
    nibabel.filebasedimages.ImageFileError,
    nibabel.spatialimages.HeaderDataError,
    OSError,
    ValueError,
    EOFError,
    OverflowError,
    zlib.error,
    # Its stubs take it for an instance.
    cast(type[Exception], isal_zlib.error),
)
"""What nibabel raises for a file that is no NIfTI, or a damaged one."""

_BLOCK = 1 << 18
_ZLIB_OR_GZIP = 47
# No picture is smaller than this part of its pixels: deflate reaches 1:1030, LZW about 1:2600, JPEG less.
_BEST_COMPRESSION = 4096
_GZIP_MAGIC = b"\x1f\x8b"
_NIFTI_HEADER, _NIFTI2_HEADER = 348, 540


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
    try:
        if has_ending(path, (".nii.gz",)):
            _expect(_inflate(path, 0), _nifti_bytes(path))
        elif has_ending(path, (".nii",)):
            _expect(path.stat().st_size, _nifti_bytes(path))
        elif has_text_header(path):
            _check_voxels(path, voxel_bytes)
        elif has_ending(path, (".bmp",)):
            _expect(path.stat().st_size, _bmp_bytes(path))
        elif has_ending(path, (".png", *TIFF_ENDINGS, *LOSSY_ENDINGS)):
            _check_picture(path, voxel_bytes)
    except (struct.error, *NIBABEL_ERRORS) as error:
        raise DamagedFileError(str(error)) from error


def check_header(path: Path) -> None:
    """What must hold before ITK may look at a file: it follows headers to other files, and trusts what they say.

    Raises:
        UserError: The voxels are in other files (see ``read_text_header``).
        DamagedFileError: The header is not one of this format.
        OSError: The file cannot be read.
    """
    if has_text_header(path):
        read_text_header(path)
    elif has_ending(path, NIFTI_ENDINGS):
        _check_nifti_magic(path)


def _check_nifti_magic(path: Path) -> None:
    with open(path, "rb") as handle:
        packed = handle.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
    try:
        with gzip.open(path) if packed else open(path, "rb") as handle:
            head = handle.read(_NIFTI_HEADER)
    except (EOFError, zlib.error) as error:
        raise DamagedFileError(str(error)) from error
    magic = head[4:7] if _NIFTI2_HEADER.to_bytes(4, "little") in (head[:4], head[3::-1]) else head[344:347]
    if magic in (b"ni1", b"ni2"):
        raise UserError(
            "An image has its voxels in another file.",
            file=path,
            found="the header of a NIfTI pair (.hdr and .img)",
            expected="header and voxels in one file",
            remedy="Convert the pair to .nii.gz, e.g. with 3D Slicer or nibabel.",
        )
    if magic not in (b"n+1", b"n+2"):
        raise DamagedFileError("the file does not begin as a NIfTI file does")


def _expect(found: int, needed: int) -> None:
    if found < needed:
        raise DamagedFileError(f"the file holds {found} bytes of data, its header promises {needed}")


def _inflate(path: Path, start: int) -> int:
    """Decompress to the end, which verifies the checksum; returns the number of decompressed bytes."""
    total = 0
    with open(path, "rb") as handle:
        handle.seek(start)
        # Twice as fast as zlib; most of the time to check an image goes here.
        inflate = isal_zlib.decompressobj(_ZLIB_OR_GZIP)
        while block := handle.read(_BLOCK):
            while block:
                total += len(inflate.decompress(block))
                block = inflate.unused_data.lstrip(b"\0") if inflate.eof else b""
                if block:
                    # gzip files may be concatenated (bgzip and others do it); zeros are padding.
                    inflate = isal_zlib.decompressobj(_ZLIB_OR_GZIP)
    if not inflate.eof:
        raise DamagedFileError("the compressed data end too early")
    return total


def _nifti_bytes(path: Path) -> int:
    """Length that the header of a (decompressed) NIfTI file promises."""
    image: Any = nibabel.load(path)
    voxels = math.prod(int(size) for size in image.header.get_data_shape())
    return int(image.dataobj.offset) + voxels * int(image.header.get_data_dtype().itemsize)


def _check_voxels(path: Path, voxel_bytes: int) -> None:
    header = read_text_header(path)
    if header.encoding == GZIP:
        _expect(_inflate(header.voxels, header.start), voxel_bytes)
    elif header.encoding == RAW:
        _expect(header.voxels.stat().st_size - header.start, voxel_bytes)


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
    if has_ending(path, LOSSY_ENDINGS) and not _ends_as_jpeg(path.read_bytes()):
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
