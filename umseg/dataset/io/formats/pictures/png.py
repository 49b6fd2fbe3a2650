"""PNG files: images are what viewers show, label maps are the numbers that are stored.

ITK reads most images, Pillow greyscale with transparency and all label maps that viewers show otherwise than they are
stored: palettes, and numbers of less than 8 bits.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.dataset.io.formats.damage import INFLATE_ERROR, expect_bytes
from umseg.dataset.io.formats.pictures.base import Picture, flat_source
from umseg.dataset.io.formats.pictures.png_chunks import (
    COLOURS_ALPHA,
    GREY,
    GREY_ALPHA,
    PALETTE,
    PngHeader,
    check_chunks,
    pixel_data,
    plain_png,
    read_header,
)
from umseg.dataset.io.formats.upright import upright
from umseg.dataset.io.grid import Geometry
from umseg.dataset.io.source import DamagedFileError, Source

_LARGEST = np.iinfo(np.uint16).max


class Png(Picture):
    """PNG files."""

    name = "PNG"
    endings = (".png",)
    image_io = "PNGImageIO"

    def open(self, path: Path) -> Source:
        """As in :class:`Format`: palettes as colours, 1 to 4 bits scaled to 8, upright as EXIF says."""
        header = read_header(path)
        if header.colours == GREY_ALPHA or (header.colours == GREY and header.transparent is not None):
            source = self._by_pillow(path, header, 2, as_label=False)
        else:
            source = super().open(path)
        return upright(path, source, header.orientation)

    def open_label(self, path: Path) -> Source:
        """As in :class:`Format`: the indices of palettes, 1 to 4 bits as they are."""
        header = read_header(path)
        shown = header.colours == PALETTE or (header.colours == GREY and (header.bits < 8 or header.transparent))
        if not shown:
            return self.open(path)
        return upright(path, self._by_pillow(path, header, 1, as_label=True), header.orientation)

    def has_transparency(self, path: Path, components: int) -> bool:
        """As in :class:`Format`."""
        return components in (2, 4)

    def check(self, path: Path, voxel_bytes: int = 0) -> None:
        """As in :class:`Format`."""
        super().check(path, voxel_bytes)
        check_chunks(path)

    def write_label(self, path: Path, values: NDArray[np.unsignedinteger[Any]], geometry: Geometry) -> None:
        """As in :class:`Format`; values of more than 16 bits are refused."""
        largest = int(values.max(initial=0))
        if largest > _LARGEST:
            raise UserError(
                "A PNG file cannot hold such a large label value.",
                file=path,
                found=f"{largest} (in an instance task: the number of objects)",
                expected=f"at most {_LARGEST}",
                remedy="Keep the images in a format whose label maps hold 32 bits (.tif, .nii.gz), or crop them.",
            )
        super().write_label(path, values, geometry)

    def _by_pillow(self, path: Path, header: PngHeader, components: int, as_label: bool) -> Source:
        def check(size: int) -> None:
            self.check(path, size * max(header.bits // 8, 1))
            _expect_pixels(path, header.inflated)

        def decode() -> NDArray[Any]:
            values = _stored(path, header)
            if as_label or header.colours == GREY_ALPHA:
                return values
            return _with_transparency(values, header)

        return flat_source(header.size, components, check, decode)


def _stored(path: Path, header: PngHeader) -> NDArray[Any]:
    """The numbers of a greyscale picture or of one with a palette, (y, x[, 2])."""
    from PIL.PngImagePlugin import PngImageFile

    wide = header.colours == GREY_ALPHA and header.bits == 16
    # Pillow would halve two numbers of 16 bits; four of 8 bits are the same bytes.
    kind = (8, COLOURS_ALPHA) if wide else (header.bits, header.colours)
    with PngImageFile(io.BytesIO(plain_png(path, kind))) as picture:
        values = np.asarray(picture)
    if wide:
        return np.ascontiguousarray(values).view(">u2").astype(np.uint16)
    if header.colours == GREY and header.bits in (2, 4):
        # Pillow shows the largest number as 255.
        values = values // (255 // ((1 << header.bits) - 1))
    return values.astype(np.uint16 if header.bits == 16 else np.uint8, copy=False)


def _with_transparency(values: NDArray[Any], header: PngHeader) -> NDArray[Any]:
    """Grey numbers as viewers show them, and a transparency that is 0 where they have the transparent grey."""
    largest = 65_535 if header.bits == 16 else 255
    grey = int.from_bytes((header.transparent or b"")[:2], "big")
    opaque = np.where(values == grey, 0, largest).astype(values.dtype)
    scale = largest // ((1 << header.bits) - 1)
    return np.stack([values * values.dtype.type(scale), opaque], axis=-1)


def _expect_pixels(path: Path, size: int) -> None:
    """Require that the compressed pixels are whole and as many as the header promises; Pillow fills with zeros."""
    stream = isal_zlib.decompressobj()
    found = 0
    try:
        for block in pixel_data(path):
            part = block
            while part and found < size:
                found += len(stream.decompress(part, 1 << 20))
                part = stream.unconsumed_tail
    except INFLATE_ERROR as error:
        raise DamagedFileError(str(error)) from error
    expect_bytes(found, size)
