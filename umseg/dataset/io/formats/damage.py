"""Checks that several formats share: whether a file can hold, and does hold, what its header promises."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from isal import isal_zlib

from umseg.dataset.io.source import DamagedFileError

INFLATE_ERROR = cast("type[Exception]", isal_zlib.error)
"""What isal raises for damaged data; its stubs take it for an instance."""

_BLOCK = 1 << 18
_ZLIB_OR_GZIP = 47
# No picture is smaller than this part of its pixels: deflate reaches 1:1030, LZW about 1:2600, JPEG less.
_BEST_COMPRESSION = 4096


def expect_bytes(found: int, needed: int) -> None:
    """Require a number of bytes.

    Raises:
        DamagedFileError: There are fewer.
    """
    if found < needed:
        raise DamagedFileError(f"the file holds {found} bytes of data, its header promises {needed}")


def check_compression(path: Path, voxel_bytes: int) -> None:
    """Require that a file can hold so many bytes of voxels at all, even with the best compression.

    Raises:
        DamagedFileError: The file is too small for them.
    """
    size = path.stat().st_size
    if voxel_bytes > size * _BEST_COMPRESSION:
        raise DamagedFileError(f"the header promises {voxel_bytes} bytes of pixels, more than {size} bytes can hold")


def inflated_size(path: Path, start: int = 0) -> int:
    """Decompress a gzip or zlib file to its end, which verifies its checksums.

    Args:
        path: The file.
        start: Where the compressed data begin, in bytes.

    Returns:
        The number of decompressed bytes.

    Raises:
        DamagedFileError: The data end too early, or a checksum is wrong.
        OSError: The file cannot be read.
    """
    total = 0
    with path.open("rb") as handle:
        handle.seek(start)
        # Twice as fast as zlib; most of the time to check an image goes here.
        inflate = isal_zlib.decompressobj(_ZLIB_OR_GZIP)
        try:
            while block := handle.read(_BLOCK):
                while block:
                    total += len(inflate.decompress(block))
                    block = inflate.unused_data.lstrip(b"\0") if inflate.eof else b""
                    if block:
                        # gzip files may be concatenated (bgzip and others do it); zeros are padding.
                        inflate = isal_zlib.decompressobj(_ZLIB_OR_GZIP)
        except INFLATE_ERROR as error:
            raise DamagedFileError(str(error)) from error
    if not inflate.eof:
        raise DamagedFileError("the compressed data end too early")
    return total


def inflate(data: bytes, size: int) -> bytes:
    """Decompress a zlib stream that should give ``size`` bytes.

    No more than these are made, whatever the data would give.

    Raises:
        DamagedFileError: The data are damaged, or give fewer bytes.
    """
    stream = isal_zlib.decompressobj()
    try:
        plain: bytes = stream.decompress(data, size)
    except INFLATE_ERROR as error:
        raise DamagedFileError(str(error)) from error
    expect_bytes(len(plain), size)
    return plain
