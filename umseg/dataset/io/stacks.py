"""TIFF files of several pages: which of them are slices, and how far apart these are."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from umseg.common.errors import UserError
from umseg.common.record import read_json
from umseg.dataset.io.channels import Notice
from umseg.dataset.io.grid import Geometry
from umseg.dataset.io.source import DamagedFileError, Source, unreadable
from umseg.dataset.io.tiff import Page, StackAxes, is_tiff, read_pages, stack_axes

_CHANNEL = re.compile(r"_\d{4}$")
# ITK turns what it does not know to decode into colours of 8 bits, multiplied by their opacity.
_EXACT_BITS = (8, 16, 32, 64)
_COLOUR_BITS, _COLOURS = 8, 3


def sidecars(path: Path) -> list[Path]:
    """The JSON files that may say the spacing of a TIFF file, ``CASE.json`` for ``CASE_0000.tif`` (nnU-Net's form)."""
    if not is_tiff(path):
        return []
    names = dict.fromkeys([path.stem, _CHANNEL.sub("", path.stem)])
    return [file for name in names if (file := path.with_name(f"{name}.json")).is_file()]


def slice_pages(path: Path) -> list[Page]:
    """The tags of a TIFF file's pages, without reduced copies. To be read before ITK, which runs in circles for ever.

    Raises:
        UserError: The file is cut short or is no TIFF.
    """
    try:
        return [page for page in read_pages(path) if not page.reduced]
    except (DamagedFileError, OSError) as error:
        raise unreadable(path, error) from error


def fit_stack(path: Path, source: Source, pages: Sequence[Page]) -> Source:
    """Complete what ITK knows of a TIFF file: the spacing of a stack and its unit.

    It is that of a JSON file beside it, ``{"spacing": [z, y, x]}`` in mm, or else what ImageJ or OME wrote in the file;
    or else 1 along every axis.

    Args:
        path: The file.
        source: As ITK opens it.
        pages: Of ``slice_pages``.

    Raises:
        UserError: The pages are channels, time points or of different sizes, or ITK would not return the numbers in
            them; or the JSON file is wrong.
    """
    geometry = source.geometry
    depth = geometry.size[2] if geometry.dimensions == 3 else 1
    if not pages or len(pages) != depth or any(page.size != pages[0].size for page in pages):
        raise _mixed_pages(path, pages, depth)
    _check_layout(path, pages[0], source.components)
    axes = stack_axes(pages[0])
    if axes is not None:
        _check_axes(path, axes, depth)
    if depth == 1:
        return source
    told = _told_spacing(path)
    if told is not None:
        geometry = replace(geometry, spacing=told, unit="mm")
    elif axes is not None and axes.spacing is not None:
        geometry = replace(geometry, spacing=axes.spacing, unit=axes.unit)
    else:
        geometry = replace(geometry, spacing=(1.0, 1.0, 1.0), unit=None)
    return replace(source, geometry=geometry)


def missing_spacing(path: Path, geometry: Geometry) -> tuple[Notice, ...]:
    """A notice for a stack whose spacing none of its files states."""
    if geometry.dimensions == 2 or geometry.unit is not None:
        return ()
    return (
        Notice(
            "A TIFF stack does not say how far its slices are apart: its voxels are taken as cubes.",
            path,
            found=f"{geometry.size[2]} slices without a spacing",
            expected="a spacing from ImageJ or OME, or CASE.json beside the file",
            remedy='Write {"spacing": [z, y, x]} to CASE.json beside CASE_0000.tif if voxels are no cubes.',
        ),
    )


def _told_spacing(path: Path) -> tuple[float, float, float] | None:
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


def _check_layout(path: Path, page: Page, components: int) -> None:
    exact = page.plain and page.bits in _EXACT_BITS and (components == page.samples or page.bits == _COLOUR_BITS)
    if exact or (page.bits <= _COLOUR_BITS and page.samples <= _COLOURS):
        return
    place = "in strips" if page.plain else "in tiles or planes"
    raise UserError(
        "A TIFF file is stored in a way that cannot be read without loss.",
        file=path,
        found=f"{page.bits} bits, {page.samples} numbers per pixel, {place}",
        expected="8, 16 or 32 bits in strips, the numbers of a pixel side by side",
        remedy="Save the file again, e.g. with ImageJ, or as .png or .nii.gz.",
    )


def _check_axes(path: Path, axes: StackAxes, depth: int) -> None:
    if axes.channels > 1 or axes.frames > 1:
        raise UserError(
            "The pages of a TIFF file are channels or time points.",
            file=path,
            found=f"{axes.slices} slices, {axes.channels} channels, {axes.frames} time points",
            expected="the slices of one channel",
            remedy="Save each channel or time point as a file of its own (ImageJ: Image, Color, Split Channels). If "
            "the pages are slices, correct that in the file (ImageJ: Image, Properties).",
        )
    if axes.slices != depth:
        raise UserError(
            "A TIFF file has another number of pages than it says.",
            file=path,
            found=f"{depth} pages",
            expected=f"{axes.slices} slices",
            remedy="Copy the file again. ImageJ writes more than 4 GB as one page: save it as BigTIFF or .nii.gz.",
        )


def _mixed_pages(path: Path, pages: Sequence[Page], depth: int) -> UserError:
    sizes = dict.fromkeys(page.size for page in pages)
    return UserError(
        "The pages of a TIFF file are not the slices of one image.",
        file=path,
        found=f"{len(pages)} pages, " + ", ".join(f"{x} x {y}" for x, y in sizes) + f"; {depth} of them can be read",
        expected="pages of one size",
        remedy="Save one image per file, without previews and reduced copies.",
    )
