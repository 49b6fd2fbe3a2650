"""TIFF files of several pages: whether these are slices, and how far apart they are."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.common.json_file import read_json
from umseg.dataset.io.formats.tiff.axes import MM_PER_INCH, Spacing, StackAxes
from umseg.dataset.io.grid import Geometry, Unit

_CHANNEL = re.compile(r"_\d{4}$")


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
    """Require that the pages of a file are the slices and channels of one image, and all of them.

    Raises:
        UserError: They are time points, their number is not the one that the file states, or their order is unusual.
    """
    found = f"{axes.slices} slices, {axes.channels} channels, {axes.frames} time points"
    if axes.frames > 1:
        raise UserError(
            "The pages of a TIFF file are time points.",
            file=path,
            found=found,
            expected="slices, channels, or both",
            remedy="Save each time point as a file of its own (ImageJ: Image, Stacks, Tools, Stack Splitter). If the "
            "pages are slices, correct that in the file (ImageJ: Image, Properties).",
        )
    if axes.slices * axes.channels != pages:
        raise UserError(
            "The number of pages in a TIFF file is not the one that the file states.",
            file=path,
            found=f"{pages} pages",
            expected=found.rpartition(",")[0] if axes.channels > 1 else f"{axes.slices} slices",
            remedy="Copy the file again. ImageJ writes more than 4 GB as one page: save it as BigTIFF or .nii.gz.",
        )
    if not axes.in_order:
        raise UserError(
            "The pages of an OME-TIFF file are in another order than its axes.",
            file=path,
            found=found + " with pages of their own order (TiffData)",
            expected="pages in the order of DimensionOrder",
            remedy="Save the file again, e.g. with ImageJ's Bio-Formats exporter, or one file per channel.",
        )


def to_channels(values: NDArray[Any], axes: StackAxes) -> NDArray[Any]:
    """Pages as channels and slices: from (components of a pixel, pages, y, x) to (channels * components, z, y, x)."""
    components, _, y, x = values.shape
    if axes.channels_first:
        parts = values.reshape(components, axes.channels, axes.slices, y, x).swapaxes(0, 1)
    else:
        parts = values.reshape(components, axes.slices, axes.channels, y, x).transpose(2, 0, 1, 3, 4)
    return np.ascontiguousarray(parts).reshape(-1, axes.slices, y, x)


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
        return "", (MM_PER_INCH / x, MM_PER_INCH / y), "INCH"
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
