"""TIFF files of several pages: whether these are slices, and how far apart they are."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from umseg.common.errors import UserError
from umseg.common.json_file import read_json
from umseg.dataset.io.grid import Geometry, Unit

Spacing = tuple[float, float, float]

_CHANNEL = re.compile(r"_\d{4}$")
_MM_PER_INCH = 25.4
_MM = {"m": 1e3, "cm": 10.0, "mm": 1.0, "um": 1e-3, "\u00b5m": 1e-3, "\u03bcm": 1e-3, "micron": 1e-3, "microns": 1e-3}
_MM |= {"micrometer": 1e-3, "nm": 1e-6, "inch": _MM_PER_INCH}


@dataclass(frozen=True)
class StackAxes:
    """What ImageJ or OME state about the pages of a file.

    Attributes:
        slices: Number of slices along z.
        channels: Number of pages per slice that are channels.
        frames: Number of time points.
        spacing: Size of a voxel (x, y, z); None where the file does not state it.
        unit: Unit of the spacing; px where the file names none that is a length.
    """

    slices: int
    channels: int
    frames: int
    spacing: Spacing | None
    unit: Unit


def stack_axes(description: str, resolution: tuple[float, float] | None) -> StackAxes | None:
    """What the first page states about all pages; None where neither ImageJ nor OME wrote it.

    Args:
        description: The text of the first page.
        resolution: Pixels per unit along x and y; None where the file does not state it.
    """
    if description.startswith("ImageJ="):
        return _imagej_axes(description, resolution)
    if "<OME" in description:
        return _ome_axes(description)
    return None


def sidecars(path: Path) -> list[Path]:
    """The JSON files that may state the spacing of a file: ``CASE.json`` for ``CASE_0000.tif`` (nnU-Net's form)."""
    names = dict.fromkeys([path.stem, _CHANNEL.sub("", path.stem)])
    return [file for name in names if (file := path.with_name(f"{name}.json")).is_file()]


def stack_spacing(path: Path, axes: StackAxes | None) -> tuple[Spacing, Unit | None]:
    """The spacing (x, y, z) of a stack and its unit.

    It is taken from a JSON file beside the stack, ``{"spacing": [z, y, x]}`` in mm; or else from what ImageJ or OME
    wrote in the file; or else it is 1 along every axis, without a unit.

    Raises:
        UserError: The JSON file is wrong.
    """
    beside = _spacing_beside(path)
    if beside is not None:
        return beside, "mm"
    if axes is not None and axes.spacing is not None:
        return axes.spacing, axes.unit
    return (1.0, 1.0, 1.0), None


def check_axes(path: Path, axes: StackAxes, pages: int) -> None:
    """Require that the pages of a file are the slices of one channel.

    Raises:
        UserError: They are channels or time points, or their number is not the one that the file states.
    """
    if axes.channels > 1 or axes.frames > 1:
        raise UserError(
            "The pages of a TIFF file are channels or time points.",
            file=path,
            found=f"{axes.slices} slices, {axes.channels} channels, {axes.frames} time points",
            expected="the slices of one channel",
            remedy="Save each channel or time point as a file of its own (ImageJ: Image, Color, Split Channels). If "
            "the pages are slices, correct that in the file (ImageJ: Image, Properties).",
        )
    if axes.slices != pages:
        raise UserError(
            "The number of pages in a TIFF file is not the one that the file states.",
            file=path,
            found=f"{pages} pages",
            expected=f"{axes.slices} slices",
            remedy="Copy the file again. ImageJ writes more than 4 GB as one page: save it as BigTIFF or .nii.gz.",
        )


def stated_spacing(shape: Sequence[int], geometry: Geometry) -> tuple[str, tuple[float, float] | None, str]:
    """How a file is to state its spacing.

    Args:
        shape: Shape of the voxels, (z, y, x).
        geometry: The grid to be stated.

    Returns:
        The description, the pixels per unit along x and y, and that unit as TIFF names it. A stack has ImageJ's
        description, a single page the resolution for printing.
    """
    x, y = geometry.spacing[:2]
    if geometry.dimensions == 2:
        return "", (_MM_PER_INCH / x, _MM_PER_INCH / y), "INCH"
    text = f"ImageJ=1.11a\nimages={shape[0]}\nslices={shape[0]}\n"
    if geometry.unit is None:
        return text, None, "NONE"
    text += ("unit=mm\n" if geometry.unit == "mm" else "") + f"spacing={float(geometry.spacing[2])!r}\n"
    return text, (1 / x, 1 / y), "NONE"


def _spacing_beside(path: Path) -> Spacing | None:
    """(x, y, z) of the JSON file beside an image."""
    remedy = 'Write {"spacing": [z, y, x]} in mm, or remove the file.'
    for file in sidecars(path):
        content = read_json(file, remedy)
        if not isinstance(content, dict) or "spacing" not in content:
            continue
        try:
            z, y, x = (float(value) for value in content["spacing"])
        except (TypeError, ValueError):
            z = y = x = math.nan
        if not all(0 < value < math.inf for value in (z, y, x)):
            raise UserError(
                "The spacing of a TIFF stack is not three positive numbers.",
                file=file,
                found=json.dumps(content["spacing"]),
                expected="[z, y, x] in mm",
                remedy=remedy,
            )
        return x, y, z
    return None


def _imagej_axes(description: str, resolution: tuple[float, float] | None) -> StackAxes:
    fields = dict(line.split("=", 1) for line in description.splitlines() if "=" in line)

    def number(name: str) -> int:
        return int(fields[name]) if fields.get(name, "").isdigit() else 1

    factor = _MM.get(fields.get("unit", "").replace("\\u00B5", "\u00b5"))
    scale = factor or 1.0
    x, y = resolution or (1.0, 1.0)
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
