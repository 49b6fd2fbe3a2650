"""What TIFF files state about their pages: which are slices, channels and time points, and how far slices are apart.

ImageJ, OME and tifffile write it into the text of the first page. These texts come from anywhere: they are searched in
one pass, and their numbers are limited.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from umseg.dataset.io.grid import Unit

Spacing = tuple[float, float, float]
Fields = Mapping[str, str]

MM_PER_INCH = 25.4
_MM = {"m": 1e3, "cm": 10.0, "mm": 1.0, "um": 1e-3, "\u00b5m": 1e-3, "\u03bcm": 1e-3, "micron": 1e-3, "microns": 1e-3}
_MM |= {"micrometer": 1e-3, "nm": 1e-6, "inch": MM_PER_INCH}

# An element's attributes are no longer; nor is the text that tifffile writes.
_LONGEST_ELEMENT = 1 << 12
_LONGEST_SHAPED = 1 << 16
_ATTRIBUTE = re.compile(r'(\w{1,64})\s{0,8}=\s{0,8}"([^"]*)"')
_LONGEST_NUMBER = 18


@dataclass(frozen=True)
class StackAxes:
    """What a file states about its pages.

    Attributes:
        slices: Number of slices along z.
        channels: Number of pages per slice that are channels.
        frames: Number of time points.
        spacing: Size of a voxel (x, y, z); None where the file does not state it.
        unit: Unit of the spacing; px where the file names none that is a length.
        channels_first: Whether the pages of a channel follow each other; else those of a slice do.
        in_order: Whether the file lists its pages in the order that these axes have.
    """

    slices: int
    channels: int
    frames: int
    spacing: Spacing | None
    unit: Unit
    channels_first: bool = False
    in_order: bool = True


def stack_axes(description: str, resolution: tuple[float, float] | None, components: int = 1) -> StackAxes | None:
    """What the first page states about all pages; None where neither ImageJ, OME nor tifffile wrote it.

    Args:
        description: The text of the first page.
        resolution: Pixels per unit along x and y; None where the file does not state it.
        components: Numbers per pixel of a page.
    """
    if description.startswith("ImageJ="):
        return _imagej_axes(description, resolution)
    if description.startswith('{"shape":'):
        return _shaped_axes(description, components)
    if "<OME" in description:
        return _ome_axes(description)
    return None


def _imagej_axes(description: str, resolution: tuple[float, float] | None) -> StackAxes:
    fields = dict(line.split("=", 1) for line in description.splitlines() if "=" in line)
    factor = _MM.get(fields.get("unit", "").replace("\\u00B5", "\u00b5"))
    scale = factor or 1.0
    x, y = resolution or (1.0, 1.0)
    z = _float(fields.get("spacing"))
    spacing = None if z is None else (scale / x, scale / y, scale * abs(z))
    channels, frames = _whole(fields, "channels"), _whole(fields, "frames")
    # Plain stacks count images only.
    slices = _whole(fields, "slices" if "slices" in fields or channels * frames > 1 else "images")
    return StackAxes(slices, channels, frames, spacing, "px" if factor is None else "mm")


def _shaped_axes(description: str, components: int) -> StackAxes | None:
    """What tifffile states: the shape of the array that it has written, and perhaps the names of its axes."""
    if len(description) > _LONGEST_SHAPED:
        return None
    try:
        stated = json.loads(description)
        shape = [int(size) for size in stated["shape"]]
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
    axes = stated.get("axes")
    if isinstance(axes, str) and len(axes) == len(shape) and "YX" in axes:
        names = axes.partition("YX")[0]
    elif stated.get("truncated"):
        names = "Z" * max(len(shape) - 2, 0)
    else:
        return None
    if names and components > 1 and shape[len(names) - 1] == components:
        # Colours that are stored in planes: all of them belong to one page.
        names = names[:-1]
    pages = [(name, size) for name, size in zip(names, shape, strict=False) if size != 1]

    def count(*matches: str) -> int:
        return math.prod(size for name, size in pages if name in matches)

    order = [name for name, _ in pages]
    channels_first = "C" in order[:-1]
    others = set(order) - set("CT")
    in_order = not channels_first or order[0] == "C"
    return StackAxes(count(*others), count("C"), count("T"), None, "px", channels_first, in_order)


def _ome_axes(text: str) -> StackAxes | None:
    # Attributes are all that is needed; an XML parser would follow whatever entities the file defines.
    fields = next(_elements(text, "Pixels"), None)
    if fields is None:
        return None
    slices, channels, frames = (_whole(fields, name) for name in ("SizeZ", "SizeC", "SizeT"))
    samples = max(_whole(next(_elements(text, "Channel"), {}), "SamplesPerPixel"), 1)
    channels = max(channels // samples, 1)
    order = fields.get("DimensionOrder", "XYCZT")
    channels_first = order.find("C") > order.find("Z")
    factors = [_MM.get(fields.get(f"PhysicalSize{axis}Unit", "\u00b5m")) for axis in "XYZ"]
    x, y, z = (_float(fields.get(f"PhysicalSize{axis}")) for axis in "XYZ")
    spacing = None
    if x is not None and y is not None and z is not None:
        fx, fy, fz = (factor or 1.0 for factor in factors)
        spacing = (x * fx, y * fy, z * fz)
    per_slice, per_channel = (1, slices) if channels_first else (channels, 1)

    def expected(plane: Fields) -> int:
        first = _whole(plane, "FirstC", 0) // samples
        return _whole(plane, "FirstZ", 0) * per_slice + first * per_channel

    in_order = all(_whole(plane, "IFD", 0) == expected(plane) for plane in _elements(text, "TiffData"))
    unit: Unit = "px" if None in factors else "mm"
    return StackAxes(slices, channels, frames, spacing, unit, channels_first, in_order)


def _elements(text: str, name: str) -> Iterator[dict[str, str]]:
    """The attributes of the elements with a name in an XML text, one after the other."""
    start = text.find(f"<{name}")
    while start >= 0:
        head = text[start + 1 + len(name) : start + 1 + len(name) + _LONGEST_ELEMENT]
        inside, end, _ = head.partition(">")
        if end and "<" not in inside and (not inside or inside[0].isspace() or inside[0] == "/"):
            yield dict(_ATTRIBUTE.findall(inside))
        start = text.find(f"<{name}", start + 1)


def _whole(fields: Fields, name: str, otherwise: int = 1) -> int:
    text = fields.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER else otherwise


def _float(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) and value != 0 else None
