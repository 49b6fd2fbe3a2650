"""Checks that several formats share: whether a file can hold, and does hold, what its header promises."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from isal import isal_zlib

from umseg.dataset.io.source import DamagedFileError, Notice

INFLATE_ERROR = cast("type[Exception]", isal_zlib.error)
"""What isal raises for damaged data; its stubs take it for an instance."""

CHECK_REMEDY = "Compare the file with its source, or write it again, e.g. with nibabel."
"""What helps with a file whose voxels were read, but that holds more than them."""

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


def trailing_notices(path: Path, trailing: int) -> list[Notice]:
    """A notice for bytes behind compressed data that belong to no such data."""
    if not trailing:
        return []
    return [
        Notice(
            "A file has bytes behind its compressed data: they are left out.",
            path,
            found=f"{trailing:,} further bytes",
            expected="nothing behind the compressed data",
            remedy=CHECK_REMEDY,
        )
    ]


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
