"""The pages of TIFF files through tifffile, and the guards that it needs. Imports tifffile."""

from __future__ import annotations

import enum
import importlib.util
import logging
import math
from collections.abc import Iterable
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from tifffile import TiffFile, TiffFrame, TiffPage

from umseg.common.errors import UserError
from umseg.common.memory import require_memory
from umseg.common.text import by, few
from umseg.dataset.io.formats.damage import check_compression
from umseg.dataset.io.formats.itk import complex_values, open_itk
from umseg.dataset.io.formats.tiff.decode import can_decode, decode_page, segment_count
from umseg.dataset.io.formats.tiff.guard import follow_pages, has_single_strip
from umseg.dataset.io.formats.upright import TAG, UPRIGHT, orientation_of
from umseg.dataset.io.source import DamagedFileError, last_line

# What is wrong with a file is checked here and raised; tifffile would print it.
logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)

_X_RESOLUTION, _Y_RESOLUTION = 282, 283
# MetaMorph keeps all slices in one page; this tag counts them.
_METAMORPH = 33629
_MM_PER_UNIT = {2: 25.4, 3: 10.0}
_JPEG = 7
# JPEG, JPEG 2000 of three kinds, LERC, LZMA, WebP, JPEG XL and Zstandard: tifffile needs imagecodecs for them.
_BY_IMAGECODECS = (_JPEG, 33003, 33005, 34712, 34887, 34925, 50000, 50001, 50002)
_SHOWN_AS_STORED = (1, 2, 6)
_WHITE_IS_ZERO, _PALETTE = 0, 3
_ALPHA = (1, 2)

Page = TiffPage | TiffFrame
"""A page; the first one, or one whose pixels are stored as those of the first (``keyframe``)."""


class Pages:
    """The pages of a file that are the slices of one image.

    Attributes:
        size: Width and height, as stored.
        components: Numbers per pixel, e.g. 3 for RGB.
        description: The text of the first page; ImageJ and OME state there what the pages are.
        orientation: How the pages are to be turned, 1 for upright.
        shown_otherwise: How viewers show other numbers than those that are stored, in words; "" where they do not.
    """

    def __init__(self, path: Path, file: TiffFile, pages: list[Page]) -> None:
        self._path, self._file, self._pages = path, file, pages
        first = _kind(pages[0])
        separate, _, height, width, contiguous = first.shaped
        self.size = (width, height)
        self.components = separate * contiguous
        self.description = str(first.description)
        self.orientation = _orientation(first)
        self.shown_otherwise = _shown_otherwise(first)

    def __len__(self) -> int:
        return len(self._pages)

    @cached_property
    def resolution(self) -> tuple[float, float] | None:
        """Pixels per unit along x and y; None where the first page does not state it."""
        tags = _kind(self._pages[0]).tags
        x, y = (_quotient(tags.valueof(tag)) for tag in (_X_RESOLUTION, _Y_RESOLUTION))
        return None if x is None or y is None else (x, y)

    @property
    def print_spacing(self) -> tuple[float, float]:
        """Size of a pixel (x, y) in mm, as meant for printing; 1 where the first page does not state it."""
        unit = _MM_PER_UNIT.get(_kind(self._pages[0]).resolutionunit)
        if self.resolution is None or unit is None:
            return 1.0, 1.0
        return unit / self.resolution[0], unit / self.resolution[1]

    @property
    def last_is_transparency(self) -> bool:
        """Whether the last number of a pixel is a transparency: where the file says so, and of four numbers."""
        stated = _kind(self._pages[0]).extrasamples
        return self.components == 4 or (self.components == 2 and any(kind in _ALPHA for kind in stated))

    def read(self) -> NDArray[Any]:
        """The numbers that are stored, (components, z, y, x), whatever colours they stand for; 1 bit as 0 and 1.

        Raises:
            UserError: The numbers do not fit into memory.
            DamagedFileError, RuntimeError: Pixels cannot be decoded.
        """
        first = _kind(self._pages[0])
        shape = (self.components, len(self), *self.size[::-1])
        dtype = np.dtype(first.dtype)
        found = f"{len(self)} pages of {by(self.size)} pixels, {self.components} x {dtype} each"
        require_memory(math.prod(shape) * dtype.itemsize, "The image", file=self._path, found=found)
        if _suits_itk(first):
            decoded = open_itk(self._path, "TIFFImageIO", lambda path, size: None).read()
            if decoded.shape != shape:
                raise DamagedFileError(f"its pages have the shape {by(shape)}, but {by(decoded.shape)} can be decoded")
            return decoded
        values = np.empty(shape, np.uint8 if dtype.kind == "b" else dtype)
        self._file.filehandle.open()
        try:
            for number, page in enumerate(self._pages):
                _read_page(page, values[:, number])
        except (MemoryError, OSError, DamagedFileError):
            raise
        except Exception as error:  # whatever tifffile trips over
            raise DamagedFileError(last_line(error)) from error
        finally:
            self._file.filehandle.close()
        return values


def open_pages(path: Path) -> Pages:
    """Read the tags of all pages. Reduced copies of other pages are left out.

    Raises:
        DamagedFileError: It is no TIFF, or its tags point to where the file has ended or name more pixels than fit in.
        UserError: The pages differ, or are stored in a way that cannot be read.
        OSError: The file cannot be read.
    """
    length = path.stat().st_size
    with path.open("rb") as handle:
        layouts = follow_pages(handle, length)
    try:
        with TiffFile(path) as file:
            # The tags of a page take much longer to read than the places of its pixels.
            file.pages.useframes = len(set(layouts)) == 1 and has_single_strip(layouts[0])
            pages: list[Page] = list(file.pages)
            if len(pages) != len(layouts):
                raise DamagedFileError("its pages cannot be read")
            full = [page for page in pages if not _kind(page).is_reduced]
            for page in full:
                _check_pixels(path, page, length)
            kinds = {(kind.hash, _orientation(kind)): kind for kind in map(_kind, full)}
            if len({(kind.shaped, kind.dtype, _suits_itk(kind), _orientation(kind)) for kind in kinds.values()}) != 1:
                raise _mixed_pages(path, kinds.values())
            for kind in kinds.values():
                _check_encoding(path, kind)
            return Pages(path, file, full)
    except (OSError, DamagedFileError, UserError):
        raise
    except Exception as error:  # whatever tifffile trips over
        raise DamagedFileError(f"its pages cannot be read: {last_line(error)}") from error


def _orientation(page: TiffPage) -> int:
    tag = page.tags.get(TAG)
    return UPRIGHT if tag is None or tag.count != 1 else orientation_of(tag.value)


def _shown_otherwise(page: TiffPage) -> str:
    if page.photometric == _WHITE_IS_ZERO:
        return "numbers that are larger where the image is darker (min-is-white)"
    if page.photometric == _PALETTE and not _is_plain_palette(page):
        return "indices of a palette"
    return ""


def _is_plain_palette(page: TiffPage) -> bool:
    """Whether a palette shows every number as the grey that it would be without a palette."""
    colours = np.asarray(page.colormap)
    if colours.ndim != 2 or colours.shape[0] != 3:
        return False
    greys = np.linspace(0, 255, colours.shape[1])
    return bool(np.all(np.abs(colours // 256 - greys) <= 1))


def _suits_itk(page: TiffPage) -> bool:
    """Whether ITK decodes a page in JPEG's compression, and returns its pixels as they are stored."""
    return (
        page.compression == _JPEG
        and page.planarconfig == 1
        and not page.is_tiled
        and page.photometric in _SHOWN_AS_STORED
        and (page.bitspersample, page.sampleformat) == (8, 1)
        and _orientation(page) == UPRIGHT
    )


@cache
def _has_imagecodecs() -> bool:
    return importlib.util.find_spec("imagecodecs") is not None


def _check_pixels(path: Path, page: Page, length: int) -> None:
    """Require that the file can hold the pixels of a page, and does hold all strips or tiles; tifffile fills gaps."""
    kind = _kind(page)
    if not isinstance(kind.bitspersample, int):
        raise _not_decoded(path, kind, "numbers of equally many bits")
    bits = kind.bitspersample * math.prod(kind.shaped)
    if bits <= 0:
        raise DamagedFileError("a page has no pixels")
    if kind.is_tiled:
        bits = max(bits, kind.bitspersample * math.prod((kind.tiledepth, kind.tilelength, kind.tilewidth)))
    check_compression(path, bits // 8)
    places = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    if kind.is_final:
        places = [(page.dataoffsets[0], kind.nbytes)]
    elif len(places) < segment_count(kind):
        raise DamagedFileError("parts of a page are missing")
    if any(offset <= 0 or size <= 0 or offset + size > length for offset, size in places):
        raise DamagedFileError(f"pixels of the file lie behind its end at {length} bytes")


def _check_encoding(path: Path, page: TiffPage) -> None:
    """Require that the pixels of a page can be decoded to exactly what is stored.

    Raises:
        UserError: They cannot.
    """
    if page.dtype is not None and page.dtype.kind == "c":
        raise complex_values(path, str(page.dtype))
    slices = page.tags.get(_METAMORPH)
    if slices is not None and slices.count > 1:
        raise UserError(
            "A TIFF file of MetaMorph keeps all slices in one page, which cannot be read.",
            file=path,
            found=f"{slices.count} slices in one page",
            expected="one page per slice",
            remedy="Save the file as a plain TIFF, e.g. with ImageJ (File, Save As, Tiff), or as .nii.gz.",
        )
    subsampled = page.is_subsampled and page.compression != _JPEG
    if page.dtype is None or page.imagedepth > 1 or subsampled:
        raise _not_decoded(path, page, "whole or floating-point numbers in pages of one slice")
    if not (can_decode(page) or _suits_itk(page) or (page.compression in _BY_IMAGECODECS and _has_imagecodecs())):
        raise _not_decoded(
            path,
            page,
            "1 to 16, 32 or 64 bits; no compression, deflate, LZW, PackBits, LZMA, Zstandard or, for 1 bit, CCITT; or "
            "JPEG with 8 bits in strips, upright",
        )


def _kind(page: Page) -> TiffPage:
    """The page whose tags say how the pixels of this one are stored."""
    kind = page.keyframe
    if kind is None:
        raise DamagedFileError("its pages cannot be read")
    return kind


def _read_page(page: Page, out: NDArray[Any]) -> None:
    """Read a page into an array (components, y, x)."""
    kind = _kind(page)
    handle = kind.parent.filehandle
    if kind.is_final:
        stored = f"{kind.parent.byteorder}{out.dtype.char}"
        handle.seek(page.dataoffsets[0])
        if len(out) == 1:
            handle.read_array(stored, out.size, out=out[0])
            return
        pixels = handle.read_array(stored, out.size).reshape(kind.shaped)[:, 0]
    elif can_decode(kind):
        pixels = decode_page(handle, kind, list(zip(page.dataoffsets, page.databytecounts, strict=False)))
    else:
        pixels = np.asarray(page.asarray(squeeze=False))[:, 0]
    # From (separate components, y, x, components of a pixel).
    out[:] = np.moveaxis(pixels, -1, 1).reshape(out.shape)


def _mixed_pages(path: Path, pages: Iterable[TiffPage]) -> UserError:
    kinds = dict.fromkeys(
        f"{by(page.shaped[3:1:-1])} of {page.samplesperpixel} x {page.dtype}"
        + (f", orientation {_orientation(page)}" if _orientation(page) != UPRIGHT else "")
        for page in pages
    )
    return UserError(
        "The pages of a TIFF file are not the slices of one image.",
        file=path,
        found=f"pages of {len(kinds)} kinds: " + few(kinds) if kinds else "reduced copies only",
        expected="pages of one size and type",
        remedy="Save one image per file, without previews and reduced copies.",
    )


def _not_decoded(path: Path, page: TiffPage, expected: str) -> UserError:
    layout = "tiles" if page.is_tiled else "strips"
    turned = f", orientation {_orientation(page)}" if _orientation(page) != UPRIGHT else ""
    names = (_name(tifffile.COMPRESSION, page.compression), _name(tifffile.PREDICTOR, page.predictor))
    return UserError(
        "The pixels of a TIFF file are stored in a way that cannot be read.",
        file=path,
        found=f"{page.samplesperpixel} x {page.bitspersample} bits (sample format "
        f"{_name(tifffile.SAMPLEFORMAT, page.sampleformat)}, {_name(tifffile.PHOTOMETRIC, page.photometric)}) in "
        f"{layout}, compression {names[0]}, predictor {names[1]}" + turned,
        expected=expected,
        remedy="Save the file without compression, e.g. with ImageJ, or as .png or .nii.gz; or install the package "
        "imagecodecs (pip install imagecodecs).",
    )


def _name(kind: type[enum.IntEnum], value: int) -> str:
    try:
        return kind(value).name
    except ValueError:
        return str(value)


def _quotient(value: object) -> float | None:
    """The number that the two integers of a tag stand for, if it is positive."""
    if not isinstance(value, tuple) or len(value) != 2 or not all(isinstance(part, int) and part > 0 for part in value):
        return None
    return float(value[0] / value[1])
