"""JPEG files, which ITK reads."""

from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO

from umseg.common.errors import UserError
from umseg.dataset.io.formats.pictures.base import Picture
from umseg.dataset.io.formats.upright import UPRIGHT, exif_orientation, upright
from umseg.dataset.io.source import DamagedFileError, Source

_START, _SCAN, _END, _EXIF = 0xD8, 0xDA, 0xD9, 0xE1
_EXIF_BEGIN = b"Exif\0\0"
# Markers of a frame: how pixels are compressed. C4, C8 and CC mean something else.
_FRAMES = [marker for marker in range(0xC0, 0xD0) if marker not in (0xC4, 0xC8, 0xCC)]
_LOSSLESS, _HIERARCHICAL = (0xC3, 0xC7, 0xCB, 0xCF), (0xC5, 0xC6, 0xCD, 0xCE)
_MOST_SEGMENTS = 1 << 14


class Jpeg(Picture):
    """JPEG files, whose label maps are PNG files."""

    name = "JPEG"
    endings = (".jpg", ".jpeg")
    image_io = "JPEGImageIO"
    lossy = True

    def open(self, path: Path) -> Source:
        """As in :class:`Format`: upright, as EXIF says."""
        with path.open("rb") as handle:
            orientation = _read_header(handle, path)
        return upright(path, super().open(path), orientation)

    def check(self, path: Path, voxel_bytes: int = 0) -> None:
        """As in :class:`Format`: ITK fills what is missing with grey."""
        super().check(path, voxel_bytes)
        if not _ends_as_jpeg(path.read_bytes()):
            raise DamagedFileError("the compressed data end too early")

    def label_ending(self, file_ending: str) -> str:
        """As in :class:`Format`."""
        return ".png"


def _read_header(handle: BinaryIO, path: Path) -> int:
    """The orientation that the segments in front of the pixels state.

    Raises:
        DamagedFileError: The file does not begin as a JPEG.
        UserError: The pixels are compressed in a way that no reader here knows.
    """
    if handle.read(2) != bytes((0xFF, _START)):
        raise DamagedFileError("the file is not what its ending says")
    orientation = UPRIGHT
    for _ in range(_MOST_SEGMENTS):
        head = handle.read(4)
        while head[:2] == b"\xff\xff":
            head = head[1:] + handle.read(1)
        size = int.from_bytes(head[2:], "big") - 2
        if len(head) < 4 or head[0] != 0xFF or size < 0 or head[1] in (_SCAN, _END):
            break
        if head[1] in _FRAMES:
            _check_frame(path, head[1], handle.read(size))
        elif head[1] == _EXIF:
            content = handle.read(size)
            if content.startswith(_EXIF_BEGIN) and orientation == UPRIGHT:
                orientation = exif_orientation(content[len(_EXIF_BEGIN) :])
        else:
            handle.seek(size, 1)
    return orientation


def _check_frame(path: Path, marker: int, content: bytes) -> None:
    kind = "lossless" if marker in _LOSSLESS else "hierarchical" if marker in _HIERARCHICAL else ""
    bits = content[0] if content else 8
    if not kind and bits == 8:
        return
    raise UserError(
        "The JPEG file is compressed in a way that cannot be read.",
        file=path,
        found=f"{kind or 'lossy'} compression of {bits} bits",
        expected="lossy compression of 8 bits, as all cameras and programs for pictures write it",
        remedy="Save the image as .png or .tif, e.g. with ImageJ.",
    )


def _ends_as_jpeg(content: bytes) -> bool:
    """Whether the markers of a JPEG lead to its end marker; a thumbnail's own end marker lies inside a segment."""
    position = 2
    while position + 4 <= len(content) and content[position] == 0xFF:
        marker = content[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        position += 2 + int.from_bytes(content[position + 2 : position + 4], "big")
        if marker == _SCAN:
            # Behind the header of a scan lie its data; in them 0xFF is followed by 0 or by a restart marker.
            found = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL).search(content, position)
            if found is None:
                return False
            position = found.start()
            if content[position + 1] == _END:
                return True
    return False
