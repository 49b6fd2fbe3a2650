"""TIFF: ``.tif`` and ``.tiff``, single pages and stacks of slices."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from umseg.dataset.io.format import Format
from umseg.dataset.io.formats.tiff import stack
from umseg.dataset.io.formats.tiff.axes import StackAxes, stack_axes
from umseg.dataset.io.formats.upright import upright
from umseg.dataset.io.grid import Geometry
from umseg.dataset.io.source import Notice, Source

if TYPE_CHECKING:
    from umseg.dataset.io.formats.tiff.pages import Pages


class Tiff(Format):
    """TIFF files, whose pages are the slices or channels of one image: read and written by tifffile."""

    name = "TIFF"
    endings = (".tif", ".tiff")
    is_picture = True
    spacing_remedy = 'Write {"spacing": [z, y, x]} to CASE.json beside CASE_0000.tif if voxels are no cubes.'

    def open(self, path: Path) -> Source:
        """As in :class:`Format`. A stack has the spacing of ``stack.stack_spacing``."""
        source, shown_otherwise = _open(path)
        if not shown_otherwise:
            return source
        notice = Notice(
            "A TIFF file is read as it is stored, which is not how viewers show it.",
            path,
            found=shown_otherwise,
            expected="numbers that are larger where the image is brighter, or colours",
            remedy="Nothing need be done if all images are alike; save them as greyscale or RGB to be sure.",
        )
        return replace(source, notices=(*source.notices, notice))

    def open_label(self, path: Path) -> Source:
        """As in :class:`Format`: the numbers that are stored are what a label map is about."""
        return _open(path)[0]

    def check(self, path: Path, voxel_bytes: int = 0) -> None:
        """As in :class:`Format`: the pages and the places of their pixels; damaged pixels show when they are read."""
        from umseg.dataset.io.formats.tiff.pages import open_pages

        open_pages(path)

    def companions(self, path: Path) -> list[Path]:
        """The JSON files that may state the spacing."""
        return stack.sidecars(path)

    def has_transparency(self, path: Path, components: int) -> bool:
        """As in :class:`Format`: of the numbers of a pixel, not of pages that are channels."""
        from umseg.dataset.io.formats.tiff.pages import open_pages

        if components not in (2, 4):
            return False
        pages = open_pages(path)
        return pages.components == components and pages.last_is_transparency

    def channels_hint(self, path: Path) -> str:
        """As in :class:`Format`: plain pages are slices, until the file says something else."""
        from umseg.dataset.io.formats.tiff.pages import open_pages

        pages = open_pages(path)
        axes = stack_axes(pages.description, pages.resolution, pages.components)
        if axes is None and len(pages) > 1:
            return (
                f"Its {len(pages)} pages are slices unless the file says that they are channels: save one file per "
                "channel (CASE_0000, CASE_0001, ...), or let the file say it (ImageJ: Image, Properties; tifffile: "
                'imwrite(..., imagej=True, metadata={"axes": "CYX"})).'
            )
        if axes is not None and axes.channels > 1:
            return (
                f"The file says that its pages are {axes.channels} channels. Save those that are wanted, or correct "
                "channel_names; if the pages are slices, let the file say it (ImageJ: Image, Properties)."
            )
        return ""

    def write_label(self, path: Path, values: NDArray[np.unsignedinteger[Any]], geometry: Geometry) -> None:
        """As in :class:`Format`: deflated, with the spacing of a stack where ImageJ looks for it."""
        from umseg.dataset.io.formats.tiff.write import write_pages

        text, resolution, unit = stack.stated_spacing(values.shape, geometry)
        write_pages(path, values, text, resolution, unit)


def _open(path: Path) -> tuple[Source, str]:
    """The source, and how viewers show other numbers than those that are stored ("" where they do not)."""
    from umseg.dataset.io.formats.tiff.pages import open_pages

    pages = open_pages(path)
    axes = stack_axes(pages.description, pages.resolution, pages.components)
    if axes is not None:
        stack.check_axes(path, axes, len(pages))
    channels = 1 if axes is None else axes.channels
    source = Source(_grid(path, pages, axes), channels * pages.components, lambda: _read(pages, axes))
    return upright(path, source, pages.orientation), pages.shown_otherwise


def _grid(path: Path, pages: Pages, axes: StackAxes | None) -> Geometry:
    slices = len(pages) if axes is None else axes.slices
    if slices == 1:
        return Geometry(pages.size, pages.print_spacing, (0.0, 0.0), (1.0, 0.0, 0.0, 1.0), unit=None)
    spacing, unit = stack.stack_spacing(path, axes)
    direction = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    return Geometry((*pages.size, slices), spacing, (0.0, 0.0, 0.0), direction, unit)


def _read(pages: Pages, axes: StackAxes | None) -> NDArray[Any]:
    values = pages.read()
    return values if axes is None or axes.channels == 1 else stack.to_channels(values, axes)
