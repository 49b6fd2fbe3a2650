"""TIFF: what its pages say of themselves, and the spacing of stacks.

ITK decodes the pixels, but knows neither the distance of pages nor ImageJ's and OME's way to count them, and turns
layouts that it does not know into 8-bit colours.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from umseg.dataset.io.formats import TIFF_ENDINGS, has_ending
from umseg.dataset.io.grid import Unit
from umseg.dataset.io.integrity import check_compression
from umseg.dataset.io.source import DamagedFileError

_MAX_PAGES = 1 << 20
# TIFF 6.0 and BigTIFF: bytes and struct code of the types of fields.
_TYPES = {1: "B", 2: "s", 3: "H", 4: "I", 5: "II", 6: "b", 7: "s", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d"}
_TYPES |= {13: "I", 16: "Q", 17: "q", 18: "Q"}
_SUBFILE, _WIDTH, _LENGTH, _BITS, _DESCRIPTION, _SAMPLES = 254, 256, 257, 258, 270, 277
_STRIPS, _STRIP_BYTES, _X_RESOLUTION, _Y_RESOLUTION, _TILES, _TILE_BYTES = 273, 279, 282, 283, 324, 325
_PLANES, _SIDE_BY_SIDE = 284, 1
_MM = {"m": 1e3, "cm": 10.0, "mm": 1.0, "um": 1e-3, "\u00b5m": 1e-3, "\u03bcm": 1e-3, "micron": 1e-3, "microns": 1e-3}
_MM |= {"micrometer": 1e-3, "nm": 1e-6, "inch": 25.4}


@dataclass(frozen=True)
class Page:
    """One image of a TIFF file.

    Attributes:
        size: Width and height.
        bits: Per sample.
        samples: Per pixel, e.g. 3 for RGB.
        plain: Stored as ITK returns it unchanged: in strips, with the samples of a pixel side by side.
        reduced: A small copy of another page.
        description: Free text; ImageJ and OME say here what the pages are.
        resolution: Pixels per unit along x and y; None where the file does not say.
    """

    size: tuple[int, int]
    bits: int
    samples: int
    plain: bool
    reduced: bool
    description: str
    resolution: tuple[float, float] | None


@dataclass(frozen=True)
class StackAxes:
    """What ImageJ or OME say of the pages of a file.

    Attributes:
        slices: Along z.
        channels: Planes per slice that are channels.
        frames: Time points.
        spacing: (x, y, z); None where it does not say.
        unit: Of the spacing; px where the file names none that is a length.
    """

    slices: int
    channels: int
    frames: int
    spacing: tuple[float, float, float] | None
    unit: Unit


def is_tiff(path: Path) -> bool:
    """By its name."""
    return has_ending(path, TIFF_ENDINGS)


def read_pages(path: Path) -> list[Page]:
    """The tags of all pages; no pixel is read.

    Raises:
        DamagedFileError: It is no TIFF, or its tags point to where the file has ended or name more pixels than fit in.
        OSError: The file cannot be read.
    """
    with open(path, "rb") as handle:
        length = path.stat().st_size
        pages = [_page(tags, length) for tags in _directories(handle, length)]
    for page in pages:
        # Of a size that cannot be ITK makes lists of strips, for minutes.
        check_compression(path, page.size[0] * page.size[1] * page.samples * page.bits // 8)
    return pages


def stack_axes(page: Page) -> StackAxes | None:
    """What the first page says of all; None where it is neither ImageJ's nor OME's."""
    if page.description.startswith("ImageJ="):
        return _imagej_axes(page)
    if "<OME" in page.description:
        return _ome_axes(page.description)
    return None


def _directories(handle: BinaryIO, length: int) -> Iterator[dict[int, tuple[Any, ...]]]:
    head = handle.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    version = 0 if order is None or len(head) < 16 else struct.unpack_from(f"{order}H", head, 2)[0]
    if version not in (42, 43):
        raise DamagedFileError("the file does not begin as a TIFF does")
    big = version == 43
    offset = struct.unpack_from(f"{order}Q" if big else f"{order}I", head, 8 if big else 4)[0]
    seen: set[int] = set()
    while offset:
        if offset in seen or len(seen) >= _MAX_PAGES:
            raise DamagedFileError("its pages follow each other in a circle")
        seen.add(offset)
        tags, offset = _directory(handle, offset, length, str(order), big)
        yield tags
    if not seen:
        raise DamagedFileError("the file has no page")


def _directory(
    handle: BinaryIO, offset: int, length: int, order: str, big: bool
) -> tuple[dict[int, tuple[Any, ...]], int]:
    """The tags of one page, and where the next begins."""
    count = struct.unpack(f"{order}Q" if big else f"{order}H", _part(handle, offset, 8 if big else 2, length))[0]
    entry, inline = (20, 8) if big else (12, 4)
    start = offset + (8 if big else 2)
    table = _part(handle, start, count * entry + inline, length)
    tags: dict[int, tuple[Any, ...]] = {}
    for row in range(count):
        at = row * entry
        tag, kind, values = struct.unpack_from(f"{order}HH{'Q' if big else 'I'}", table, at)
        if kind not in _TYPES:
            continue
        code = _TYPES[kind]
        size = values * struct.calcsize(f"={code}")
        place = at + entry - inline
        raw = table[place : place + size]
        if size > inline:
            raw = _part(handle, struct.unpack_from(f"{order}{'Q' if big else 'I'}", table, place)[0], size, length)
        tags[tag] = (raw,) if code == "s" else struct.unpack(f"{order}{values * len(code)}{code[0]}", raw)
    return tags, struct.unpack_from(f"{order}{'Q' if big else 'I'}", table, count * entry)[0]


def _part(handle: BinaryIO, offset: int, size: int, length: int) -> bytes:
    if offset + size > length:
        raise DamagedFileError(f"a page of the file lies behind its end at {length} bytes")
    handle.seek(offset)
    return handle.read(size)


def _page(tags: dict[int, tuple[Any, ...]], length: int) -> Page:
    try:
        offsets, sizes = tags.get(_STRIPS, tags.get(_TILES, ())), tags.get(_STRIP_BYTES, tags.get(_TILE_BYTES, ()))
        if any(offset + size > length for offset, size in zip(offsets, sizes, strict=False)):
            raise DamagedFileError(f"pixels of the file lie behind its end at {length} bytes")
        text = tags.get(_DESCRIPTION, (b"",))[0]
        ratios = [tags.get(tag, (0, 0)) for tag in (_X_RESOLUTION, _Y_RESOLUTION)]
        known = all(top > 0 and bottom > 0 for top, bottom in ratios)
        return Page(
            (int(tags[_WIDTH][0]), int(tags[_LENGTH][0])),
            int(max(tags.get(_BITS, (1,)))),
            int(tags.get(_SAMPLES, (1,))[0]),
            plain=_TILES not in tags and tags.get(_PLANES, (_SIDE_BY_SIDE,))[0] == _SIDE_BY_SIDE,
            reduced=bool(tags.get(_SUBFILE, (0,))[0] & 1),
            description=text.rstrip(b"\0").decode("utf-8", "replace"),
            resolution=(ratios[0][0] / ratios[0][1], ratios[1][0] / ratios[1][1]) if known else None,
        )
    except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
        raise DamagedFileError("the tags of a page are incomplete") from error


def _imagej_axes(page: Page) -> StackAxes:
    fields = dict(line.split("=", 1) for line in page.description.splitlines() if "=" in line)

    def number(name: str) -> int:
        return int(fields[name]) if fields.get(name, "").isdigit() else 1

    factor = _MM.get(fields.get("unit", "").replace("\\u00B5", "\u00b5"))
    scale = factor or 1.0
    x, y = page.resolution or (1.0, 1.0)
    z = _float(fields.get("spacing"))
    spacing = None if z is None else (scale / x, scale / y, scale * abs(z))
    channels, frames = number("channels"), number("frames")
    # Plain stacks count images only.
    slices = number("slices" if "slices" in fields or channels * frames > 1 else "images")
    return StackAxes(slices, channels, frames, spacing, "px" if factor is None else "mm")


def _ome_axes(text: str) -> StackAxes | None:
    # Attributes are all that is needed; an XML parser would follow whatever entities the file defines.
    pixels = re.search(r"<Pixels\b([^>]*)>", text)
    if pixels is None:
        return None
    fields = dict(re.findall(r'(\w+)\s*=\s*"([^"]*)"', pixels[1]))
    sizes = [int(fields[name]) if fields.get(name, "").isdigit() else 1 for name in ("SizeZ", "SizeC", "SizeT")]
    channel = re.search(r'<Channel\b[^>]*SamplesPerPixel\s*=\s*"(\d+)"', text)
    samples = max(int(channel[1]) if channel else 1, 1)
    factors = [_MM.get(fields.get(f"PhysicalSize{axis}Unit", "\u00b5m")) for axis in "XYZ"]
    x, y, z = (_float(fields.get(f"PhysicalSize{axis}")) for axis in "XYZ")
    spacing = None
    if x is not None and y is not None and z is not None:
        fx, fy, fz = (factor or 1.0 for factor in factors)
        spacing = (x * fx, y * fy, z * fz)
    return StackAxes(sizes[0], sizes[1] // samples, sizes[2], spacing, "px" if None in factors else "mm")


def _float(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) and value != 0 else None
