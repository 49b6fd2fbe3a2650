"""Pictures: PNG, BMP and JPEG, which ITK reads and writes."""

from __future__ import annotations

import re
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.dataset.io.format import Format
from umseg.dataset.io.formats.damage import check_compression, expect_bytes
from umseg.dataset.io.formats.itk import open_itk, write_itk
from umseg.dataset.io.grid import Geometry
from umseg.dataset.io.source import DamagedFileError, Source

_PNG_LIMIT = np.iinfo(np.uint16).max


class Picture(Format):
    """A picture that ITK reads.

    Attributes:
        image_io: Name of the ITK class.
    """

    is_picture = True
    image_io: str

    def open(self, path: Path) -> Source:
        """As in :class:`Format`. The spacing has no unit: what a picture says about its size is meant for printing."""
        source = open_itk(path, self.image_io, self.check)
        return replace(source, geometry=replace(source.geometry, unit=None))

    def check(self, path: Path, voxel_bytes: int = 0) -> None:
        """As in :class:`Format`."""
        check_compression(path, voxel_bytes)

    def write_label(self, path: Path, values: NDArray[np.unsignedinteger[Any]], geometry: Geometry) -> None:
        """As in :class:`Format`."""
        write_itk(path, self.image_io, values, geometry)


class Png(Picture):
    """PNG files; their checksums are verified by ITK."""

    name = "PNG"
    endings = (".png",)
    image_io = "PNGImageIO"

    def write_label(self, path: Path, values: NDArray[np.unsignedinteger[Any]], geometry: Geometry) -> None:
        """As in :class:`Format`; values of more than 16 bits are refused."""
        largest = int(values.max(initial=0))
        if largest > _PNG_LIMIT:
            raise UserError(
                "A PNG file cannot hold such a large label value.",
                file=path,
                found=f"{largest} (in an instance task: the number of objects)",
                expected=f"at most {_PNG_LIMIT}",
                remedy="Keep the images in a format whose label maps hold 32 bits (.tif, .nii.gz), or crop them.",
            )
        super().write_label(path, values, geometry)


class Bmp(Picture):
    """Bitmaps."""

    name = "BMP"
    endings = (".bmp",)
    image_io = "BMPImageIO"

    def check(self, path: Path, voxel_bytes: int = 0) -> None:
        """As in :class:`Format`: ITK fills what is missing with old memory."""
        try:
            expect_bytes(path.stat().st_size, _promised_by_bitmap(path))
        except struct.error as error:
            raise DamagedFileError(str(error)) from error


class Jpeg(Picture):
    """JPEG files, whose label maps are PNG files."""

    name = "JPEG"
    endings = (".jpg", ".jpeg")
    image_io = "JPEGImageIO"
    lossy = True

    def check(self, path: Path, voxel_bytes: int = 0) -> None:
        """As in :class:`Format`: ITK fills what is missing with grey."""
        super().check(path, voxel_bytes)
        if not _ends_as_jpeg(path.read_bytes()):
            raise DamagedFileError("the compressed data end too early")

    def label_ending(self, file_ending: str) -> str:
        """As in :class:`Format`."""
        return ".png"


def _promised_by_bitmap(path: Path) -> int:
    """Length that the header of an uncompressed bitmap promises; rows are padded to 4 bytes."""
    with path.open("rb") as handle:
        head = handle.read(34)
    offset, _, width, height, _, bits, compression = struct.unpack_from("<IIiiHHI", head, 10)
    pixels = abs(height) * ((abs(width) * bits + 31) // 32) * 4
    return int(offset) + (int(pixels) if compression == 0 else 0)


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
