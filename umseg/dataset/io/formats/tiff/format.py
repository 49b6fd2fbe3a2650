"""TIFF: ``.tif`` and ``.tiff``, single pages and stacks of slices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.common.files import atomic_path
from umseg.dataset.io.format import Format
from umseg.dataset.io.formats.tiff import stack
from umseg.dataset.io.grid import Geometry
from umseg.dataset.io.source import Source


class Tiff(Format):
    """TIFF files, whose pages are the slices of one image: read and written by tifffile."""

    name = "TIFF"
    endings = (".tif", ".tiff")
    is_picture = True
    spacing_remedy = 'Write {"spacing": [z, y, x]} to CASE.json beside CASE_0000.tif if voxels are no cubes.'

    def open(self, path: Path) -> Source:
        """As in :class:`Format`. A stack has the spacing of ``stack.stack_spacing``."""
        from umseg.dataset.io.formats.tiff.pages import open_pages

        pages = open_pages(path)
        axes = stack.stack_axes(pages.description, pages.resolution)
        if axes is not None:
            stack.check_axes(path, axes, len(pages))
        if len(pages) == 1:
            grid = Geometry(pages.size, pages.print_spacing, (0.0, 0.0), (1.0, 0.0, 0.0, 1.0), unit=None)
        else:
            spacing, unit = stack.stack_spacing(path, axes)
            direction = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
            grid = Geometry((*pages.size, len(pages)), spacing, (0.0, 0.0, 0.0), direction, unit)
        return Source(grid, pages.components, pages.read)

    def check(self, path: Path, voxel_bytes: int = 0) -> None:
        """As in :class:`Format`: the pages and the places of their pixels; damaged pixels show when they are read."""
        from umseg.dataset.io.formats.tiff.pages import open_pages

        open_pages(path)

    def companions(self, path: Path) -> list[Path]:
        """The JSON files that may state the spacing."""
        return stack.sidecars(path)

    def write_label(self, path: Path, values: NDArray[np.unsignedinteger[Any]], geometry: Geometry) -> None:
        """As in :class:`Format`: deflated, with the spacing of a stack where ImageJ looks for it."""
        from umseg.dataset.io.formats.tiff.pages import write_pages

        text, resolution, unit = stack.stated_spacing(values.shape, geometry)
        with atomic_path(path) as temporary:
            write_pages(temporary, values, text, resolution, unit)
