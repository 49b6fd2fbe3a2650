"""The pages of TIFF files through tifffile, and the guards that it needs. Imports tifffile."""

from __future__ import annotations

import enum
import importlib.util
import itertools
import logging
import math
from collections.abc import Iterable
from fractions import Fraction
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from tifffile import TiffFile, TiffFrame, TiffPage

from umseg.common.errors import UserError
from umseg.common.text import by, few
from umseg.dataset.io.formats.damage import check_compression, inflate
from umseg.dataset.io.formats.itk import complex_values, open_itk
from umseg.dataset.io.formats.tiff.guard import follow_pages, has_single_strip
from umseg.dataset.io.source import DamagedFileError, last_line

# What is wrong with a file is checked here and raised; tifffile would print it.
logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)

_ORIENTATION, _X_RESOLUTION, _Y_RESOLUTION = 274, 282, 283
_MM_PER_UNIT = {2: 25.4, 3: 10.0}
_PLAIN, _DEFLATE = 1, (8, 32946)
# LZW, JPEG and PackBits, which tifffile decodes only with another package, or slowly.
_DECODED_BY_ITK = (5, 7, 32773)
_SHOWN_AS_STORED = (1, 2, 6)
# Bits and sample format: unsigned, signed, floating point.
_EXACT_IN_ITK = {(8, 1), (16, 1), (32, 1), (8, 2), (16, 2), (32, 2), (32, 3)}
_LARGEST = (1 << 32) - 1
# Larger stacks are written as BigTIFF: offsets in a plain TIFF have 32 bits.
_PLAIN_LIMIT = 1 << 31


Page = TiffPage | TiffFrame
"""A page; the first one, or one whose pixels are stored as those of the first (``keyframe``)."""


class Pages:
    """The pages of a file that are the slices of one image.

    Attributes:
        size: Width and height.
        components: Numbers per pixel, e.g. 3 for RGB.
        description: The text of the first page; ImageJ and OME state there what the pages are.
    """

    def __init__(self, path: Path, file: TiffFile, pages: list[Page]) -> None:
        self._path, self._file, self._pages = path, file, pages
        first = _kind(pages[0])
        separate, _, height, width, contiguous = first.shaped
        self.size = (width, height)
        self.components = separate * contiguous
        self.description = str(first.description)

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

    def read(self) -> NDArray[Any]:
        """The numbers that are stored, (components, z, y, x), whatever colours they stand for; 1 bit as 0 and 1.

        Raises:
            DamagedFileError, RuntimeError: Pixels cannot be decoded.
        """
        shape = (self.components, len(self), *self.size[::-1])
        if _suits_itk(_kind(self._pages[0])):
            decoded = open_itk(self._path, "TIFFImageIO", lambda path, size: None).read()
            if decoded.shape != shape:
                raise DamagedFileError(f"its pages have the shape {by(shape)}, but {by(decoded.shape)} can be decoded")
            return decoded
        values = np.empty(shape, self._pages[0].dtype)
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
        return values.view(np.uint8) if values.dtype == bool else values


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
    except (OSError, DamagedFileError):
        raise
    except Exception as error:  # whatever tifffile trips over
        raise DamagedFileError(f"its pages cannot be read: {last_line(error)}") from error
    kinds = {_kind(page).hash: _kind(page) for page in full}
    if len({(kind.shaped, kind.dtype, _suits_itk(kind)) for kind in kinds.values()}) != 1:
        raise _mixed_pages(path, kinds.values())
    for kind in kinds.values():
        _check_encoding(path, kind)
    return Pages(path, file, full)


def write_pages(
    path: Path,
    values: NDArray[np.unsignedinteger[Any]],
    description: str,
    resolution: tuple[float, float] | None,
    unit: str,
) -> None:
    """Write grey-scale pages, deflated.

    Args:
        path: The file.
        values: (z, y, x).
        description: The text of the first page.
        resolution: Pixels per unit along x and y; None: the file does not state it.
        unit: ``NONE``, ``INCH`` or ``CENTIMETER``.
    """
    tifffile.imwrite(
        path,
        values,
        bigtiff=values.nbytes > _PLAIN_LIMIT,
        photometric="minisblack",
        compression="zlib",
        rowsperstrip=values.shape[1],
        description=description or None,
        metadata=None,
        software=False,
        resolution=None if resolution is None else (_ratio(resolution[0]), _ratio(resolution[1])),
        resolutionunit=unit,
    )


def _suits_itk(page: TiffPage) -> bool:
    """Whether ITK decodes the compression of a page, and returns its pixels as they are stored."""
    return (
        page.compression in _DECODED_BY_ITK
        and page.planarconfig == 1
        and not page.is_tiled
        and page.photometric in _SHOWN_AS_STORED
        and (page.bitspersample, page.sampleformat) in _EXACT_IN_ITK
        and page.tags.valueof(_ORIENTATION, default=1) == 1
    )


@cache
def _has_imagecodecs() -> bool:
    return importlib.util.find_spec("imagecodecs") is not None


def _check_pixels(path: Path, page: Page, length: int) -> None:
    """Require that the file can hold the pixels of a page, and does hold all strips or tiles; tifffile fills gaps."""
    kind = _kind(page)
    bits = kind.bitspersample * math.prod(kind.shaped)
    if kind.is_tiled:
        bits = max(bits, kind.bitspersample * math.prod((kind.tiledepth, kind.tilelength, kind.tilewidth)))
    check_compression(path, bits // 8)
    if bits <= 0:
        raise DamagedFileError("a page has no pixels")
    places = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    if kind.is_contiguous:
        places = [(page.dataoffsets[0], kind.nbytes)]
    elif len(places) < math.prod(kind.chunked):
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
    if page.dtype is None or page.imagedepth > 1 or (page.is_subsampled and page.compression not in _DECODED_BY_ITK):
        raise _not_decoded(path, page, "whole or floating-point numbers in pages of one slice")
    if _suits_itk(page) or _has_imagecodecs():
        return
    if page.compression in _DECODED_BY_ITK:
        raise _not_decoded(path, page, "no compression or deflate, or 8 or 16 bits in strips")
    if page.compression != _PLAIN and page.compression not in _DEFLATE:
        raise _not_decoded(path, page, "no compression, deflate, LZW, PackBits or JPEG")
    if page.predictor not in (1, 2) or page.bitspersample not in (1, 8, 16, 32, 64):
        raise _not_decoded(path, page, "1, 8, 16, 32 or 64 bits without a floating-point predictor")


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
    if kind.compression in _DEFLATE:
        pixels = _inflated(page)
    elif kind.is_contiguous and kind.predictor == kind.fillorder == 1 and len(out) == 1:
        handle.seek(page.dataoffsets[0])
        handle.read_array(f"{kind.parent.byteorder}{out.dtype.char}", out.size, out=out[0])
        return
    else:
        pixels = np.asarray(page.asarray(squeeze=False))
    # From (separate components, 1, y, x, components of a pixel).
    out[:] = np.moveaxis(pixels, -1, 1).reshape(out.shape)


def _inflated(page: Page) -> NDArray[Any]:
    """The pixels of a deflated page in their normal shape; tifffile would inflate without a limit, and slower."""
    kind = _kind(page)
    handle = kind.parent.filehandle
    compression = kind.compression
    # The decoder that this gives unpacks what is inflated, and undoes the predictor.
    kind.compression = _PLAIN
    try:
        pixels = np.empty(kind.shaped, kind.dtype)
        places = zip(page.dataoffsets, page.databytecounts, strict=False)
        for index, (offset, size) in enumerate(itertools.islice(places, math.prod(kind.chunked))):
            handle.seek(offset)
            plain = inflate(handle.read(size), _segment_bytes(kind, index))
            decoded, (plane, _, y, x, _), _ = kind.decode(plain, index)
            part, area = np.asarray(decoded)[0], pixels[plane, 0, y:, x:]
            area[: part.shape[0], : part.shape[1]] = part[: area.shape[0], : area.shape[1]]
        return pixels
    finally:
        kind.compression = compression


def _segment_bytes(page: TiffPage, index: int) -> int:
    """Size of a strip or tile, not compressed; rows are padded to whole bytes."""
    rows, columns = page.tilelength, page.tilewidth
    if not page.is_tiled:
        strips = math.ceil(page.imagelength / page.rowsperstrip)
        rows = min(page.rowsperstrip, page.imagelength - index % strips * page.rowsperstrip)
        columns = page.imagewidth
    samples = page.samplesperpixel if page.planarconfig == 1 else 1
    return rows * ((columns * samples * page.bitspersample + 7) // 8)


def _mixed_pages(path: Path, pages: Iterable[TiffPage]) -> UserError:
    kinds = dict.fromkeys(f"{by(page.shaped[3:1:-1])} of {page.samplesperpixel} x {page.dtype}" for page in pages)
    return UserError(
        "The pages of a TIFF file are not the slices of one image.",
        file=path,
        found=f"pages of {len(kinds)} kinds: " + few(kinds) if kinds else "reduced copies only",
        expected="pages of one size and type",
        remedy="Save one image per file, without previews and reduced copies.",
    )


def _not_decoded(path: Path, page: TiffPage, expected: str) -> UserError:
    layout = "tiles" if page.is_tiled else "strips"
    names = (_name(tifffile.COMPRESSION, page.compression), _name(tifffile.PREDICTOR, page.predictor))
    return UserError(
        "The pixels of a TIFF file are stored in a way that cannot be read.",
        file=path,
        found=f"{page.samplesperpixel} x {page.bitspersample} bits (sample format "
        f"{_name(tifffile.SAMPLEFORMAT, page.sampleformat)}, {_name(tifffile.PHOTOMETRIC, page.photometric)}) in "
        f"{layout}, compression {names[0]}, predictor {names[1]}",
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


def _ratio(value: float) -> tuple[int, int]:
    """The fraction of two 32-bit numbers next to a positive value."""
    found = Fraction(value).limit_denominator(max(1, int(_LARGEST / max(value, 1.0)) - 1))
    return min(max(found.numerator, 1), _LARGEST), found.denominator
