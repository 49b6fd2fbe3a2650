"""The grid of a file, and when two grids are the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

Unit = Literal["mm", "px"]
"""The unit of lengths in an image: millimetres, or pixels where its file does not state how large they are."""

NO_SLICE_SPACING = 999.0
"""What stands for the distance of slices where there is a single one, in multiples of the larger spacing in its plane.

The slice axis of 2-D images thus always counts as the one of lowest resolution, as in nnU-Net.
"""

SPACING_TOLERANCE = 1e-3
_DIRECTION_TOLERANCE = 1e-3
# In voxels: the rounding in a file header, not a shift that anyone would see.
_ORIGIN_TOLERANCE = 0.01
_MOST_TELLING_FIRST = ("mm", "px", None)


@dataclass(frozen=True)
class NiftiForms:
    """How a NIfTI header places its image in space, field by field; a label map gets the same fields.

    Attributes:
        version: 1 or 2.
        qform_code, sform_code: What each form refers to; 0: the header has no such form.
        quaternion: b, c and d of the qform's rotation.
        offset: The qform's position of the first voxel.
        sform: The sform's matrix, (3, 4) row-major.
        qfac: -1 where the qform has its third axis turned round.
        pixdim: Size of a voxel along x, y and z, as it stands in the header.
        units: ``xyzt_units``, the unit of lengths and times.
    """

    version: Literal[1, 2]
    qform_code: int
    sform_code: int
    quaternion: tuple[float, ...]
    offset: tuple[float, ...]
    sform: tuple[float, ...]
    qfac: float
    pixdim: tuple[float, ...]
    units: int


@dataclass(frozen=True)
class Geometry:
    """The grid of a file, in the file's own axis order (x, y[, z]): what a label map is written back with.

    Attributes:
        size: Voxels per axis; two entries for a 2-D file, three for a 3-D one.
        spacing: Length of a voxel along each axis, in ``unit``.
        origin: Position of the first voxel, mm.
        direction: Row-major direction matrix, four or nine entries.
        unit: Unit in which the file states the spacing: mm; px where it states only how long the axes are relative to
            each other; None where it states nothing: the spacing of a stack is then 1, that of a picture is for print.
        nifti: The fields of a NIfTI header that the grid was read from. They do not count in comparisons.
    """

    size: tuple[int, ...]
    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]
    unit: Unit | None = "mm"
    nifti: NiftiForms | None = field(default=None, compare=False, repr=False)

    @property
    def dimensions(self) -> int:
        """2 or 3."""
        return len(self.size)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Array shape (z, y, x); z is 1 for a 2-D file."""
        z, y, x = (*reversed(self.size),) if self.dimensions == 3 else (1, *reversed(self.size))
        return z, y, x


def spacings_agree(first: Geometry, second: Geometry) -> bool:
    """Whether two files of equal shape can have the same spacing, but for rounding.

    A spacing that a file does not state, or states in another unit, agrees with any. So does the thickness of a single
    slice, which 2-D files do not state.
    """
    if first.unit is None or first.unit != second.unit:
        return True
    axes = 2 if 1 in (first.shape[0], second.shape[0]) else 3
    return bool(np.allclose(first.spacing[:axes], second.spacing[:axes], rtol=SPACING_TOLERANCE, atol=0))


def most_telling(grids: Sequence[Geometry]) -> Geometry:
    """The first grid whose file states its spacing in mm, or else the first in pixels, or else the first of all."""
    return min(grids, key=lambda grid: _MOST_TELLING_FIRST.index(grid.unit))


def placement_difference(grid: Geometry, reference: Geometry) -> tuple[str, str] | None:
    """The difference in origin or direction between two grids of equal shape and spacing.

    Returns:
        What was found in ``grid`` and what is expected after ``reference``; None if there is no difference.
    """
    if grid.dimensions != reference.dimensions:
        return f"a {grid.dimensions}-D grid", f"a {reference.dimensions}-D grid"
    if not np.allclose(grid.direction, reference.direction, rtol=0, atol=_DIRECTION_TOLERANCE):
        return f"direction {_numbers(grid.direction)}", f"direction {_numbers(reference.direction)}"
    shift = np.abs(np.subtract(grid.origin, reference.origin)) / np.asarray(reference.spacing)
    if float(np.max(shift)) > _ORIGIN_TOLERANCE:
        return f"origin {_numbers(grid.origin)} mm", f"origin {_numbers(reference.origin)} mm"
    return None


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.6g}" for value in values)
