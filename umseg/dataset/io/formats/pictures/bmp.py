"""Bitmaps, which Pillow reads: ITK knows only those of 8, 24 and 32 bits, and not the older header."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.dataset.io.formats.damage import expect_bytes
from umseg.dataset.io.formats.pictures.base import Picture, flat_source
from umseg.dataset.io.source import DamagedFileError, Source

_OLD_HEADER, _NEW_HEADER = 12, 40
_PLAIN, _RUNS, _MASKS = (0,), (1, 2), (3, 6)
_NAMES = {4: "JPEG", 5: "PNG"}
_BITS = (1, 4, 8, 16, 24, 32)
_TRANSPARENT = "RGBA"


@dataclass(frozen=True)
class _Header:
    """The header of a bitmap.

    Attributes:
        start: Where the pixels begin, in bytes.
        size: Width and height.
        bits: Bits per pixel.
        compression: 0 for none, 1 and 2 for runs, 3 and 6 for masks of colours.
        stated: Bytes of all pixels; 0 where the header does not state it.
    """

    start: int
    size: tuple[int, int]
    bits: int
    compression: int
    stated: int

    @property
    def length(self) -> int:
        """Length that the header promises for the file; rows are padded to 4 bytes."""
        width, height = self.size
        pixels = self.stated if self.compression in _RUNS else height * ((width * self.bits + 31) // 32) * 4
        return self.start + pixels


class Bmp(Picture):
    """Bitmaps. Label maps are the indices of their palette; images are its colours."""

    name = "BMP"
    endings = (".bmp",)
    image_io = "BMPImageIO"

    def open(self, path: Path) -> Source:
        """As in :class:`Format`: three colours, and a transparency where the header says that there is one."""
        header = _read_header(path)
        components = len(_TRANSPARENT) if _mode(path) == _TRANSPARENT else 3
        return flat_source(header.size, components, lambda size: self.check(path, size), lambda: _colours(path))

    def open_label(self, path: Path) -> Source:
        """As in :class:`Format`."""
        header = _read_header(path)
        if header.bits > 8:
            return self.open(path)
        return flat_source(header.size, 1, lambda size: self.check(path, size), lambda: _indices(path))

    def check(self, path: Path, voxel_bytes: int = 0) -> None:
        """As in :class:`Format`: readers fill what is missing with zeros or old memory."""
        super().check(path, voxel_bytes)
        expect_bytes(path.stat().st_size, _read_header(path).length)


def _read_header(path: Path) -> _Header:
    """Read the header of a bitmap.

    Raises:
        DamagedFileError: It is no bitmap, or its header is not whole.
        UserError: Its pixels are stored in a way that cannot be read.
    """
    with path.open("rb") as handle:
        head = handle.read(14 + _NEW_HEADER)
    if head[:2] != b"BM":
        raise DamagedFileError("the file is not what its ending says")
    try:
        start, kind = struct.unpack_from("<II", head, 10)
        if kind == _OLD_HEADER:
            width, height, _, bits = struct.unpack_from("<HHHH", head, 18)
            compression = stated = 0
        else:
            width, height, _, bits, compression, stated = struct.unpack_from("<iiHHII", head, 18)
    except struct.error as error:
        raise DamagedFileError(str(error)) from error
    if width <= 0 or height == 0:
        raise DamagedFileError(f"the header promises {width} x {height} pixels")
    if compression not in (*_PLAIN, *_RUNS, *_MASKS) or bits not in _BITS:
        named = _NAMES.get(compression, str(compression))
        raise UserError(
            "The bitmap is stored in a way that cannot be read.",
            file=path,
            found=f"{bits} bits per pixel" + (f", compression {named}" if compression else ""),
            expected=f"{', '.join(map(str, _BITS[:-1]))} or {_BITS[-1]} bits, without compression or in runs (RLE)",
            remedy="Save the image as .png, e.g. with ImageJ.",
        )
    return _Header(start, (width, abs(height)), bits, compression, stated)


def _mode(path: Path) -> str:
    """Pillow's name for the kind of pixels."""
    from PIL.BmpImagePlugin import BmpImageFile

    try:
        with BmpImageFile(path) as picture:
            return str(picture.mode)
    except (MemoryError, FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # whatever Pillow trips over
        raise DamagedFileError(str(error)) from error


def _colours(path: Path) -> NDArray[Any]:
    from PIL.BmpImagePlugin import BmpImageFile

    with BmpImageFile(path) as picture:
        return np.asarray(picture if picture.mode == _TRANSPARENT else picture.convert("RGB"))


def _indices(path: Path) -> NDArray[Any]:
    from PIL.BmpImagePlugin import BmpImageFile

    with BmpImageFile(path) as picture:
        return np.asarray(picture).astype(np.uint8, copy=False)
