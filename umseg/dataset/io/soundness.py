"""Whether a grid can be worked with, whatever the format that states it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from umseg.common.errors import UserError
from umseg.common.text import by
from umseg.dataset.io.grid import Geometry
from umseg.dataset.io.source import Notice

_SMALLEST, _LARGEST = 1e-7, 1e5
"""From less than an atom to a hundred metres, in mm: other sizes of a voxel are errors in a header."""

_FLAT = 1e-6
_REMEDY = "Correct the header of the file, or take the case out of the data set."


def sound_geometry(path: Path, geometry: Geometry) -> tuple[Geometry, tuple[Notice, ...]]:
    """A grid whose voxels have a size: the stated one, or its absolute value with a notice.

    Args:
        path: The file, for messages.
        geometry: The grid as its file states it; one of more than three axes is returned as it is.

    Raises:
        UserError: There are no voxels along an axis, their size is zero, no finite number or absurd, or the grid has no
            place or direction in space.
    """
    if 0 in geometry.size:
        raise UserError(
            "An image has no voxels.",
            file=path,
            found=f"size {by(geometry.size)}",
            expected="at least one voxel along each axis",
            remedy="Write the file again, or take the case out of the data set.",
        )
    if len(geometry.size) not in (2, 3):
        return geometry, ()
    if geometry.unit is None and geometry.dimensions == 2:
        # What a picture says about its size is meant for printing.
        usable = all(map(_is_size, geometry.spacing))
        return (geometry if usable else replace(geometry, spacing=(1.0, 1.0))), ()
    _check_place(path, geometry)
    return _with_sizes(path, geometry)


def _with_sizes(path: Path, geometry: Geometry) -> tuple[Geometry, tuple[Notice, ...]]:
    stated = f"{', '.join(f'{size:g}' for size in geometry.spacing)} {geometry.unit or ''}".rstrip()
    spacing, notices = list(geometry.spacing), []
    if geometry.dimensions == 3 and geometry.size[2] == 1 and not _is_size(abs(spacing[2])):
        spacing[2] = 1.0
        notices.append(
            Notice(
                "A file does not say how thick its only slice is: 1 is taken.",
                path,
                found=stated,
                expected="a positive size of a voxel along each axis",
                remedy="Nothing need be done for 2-D models; else correct the header of the file.",
            )
        )
    if not all(_is_size(abs(size)) for size in spacing):
        raise UserError(
            "The size of a voxel is not usable.",
            file=path,
            found=stated,
            expected=f"a positive size along each axis, from {_SMALLEST:g} to {_LARGEST:g} mm",
            remedy=_REMEDY,
        )
    if min(spacing) < 0:
        notices.append(
            Notice(
                "The size of a voxel is negative: its absolute value is taken.",
                path,
                found=stated,
                expected="a positive size along each axis",
                remedy="Check in a viewer that the image is not mirrored, and correct the header of the file.",
            )
        )
    sizes = tuple(map(abs, spacing))
    return (geometry if sizes == geometry.spacing else replace(geometry, spacing=sizes)), tuple(notices)


def _is_size(size: float) -> bool:
    return math.isfinite(size) and _SMALLEST <= size <= _LARGEST


def _check_place(path: Path, geometry: Geometry) -> None:
    direction = np.reshape(geometry.direction, (geometry.dimensions, geometry.dimensions))
    finite = bool(np.isfinite(direction).all() and np.isfinite(geometry.origin).all())
    if finite and abs(np.linalg.det(direction)) > _FLAT:
        return
    raise UserError(
        "The header does not place the image in space.",
        file=path,
        found=f"origin {_numbers(geometry.origin)}; directions {_numbers(geometry.direction)}",
        expected="finite numbers, and axes along different directions",
        remedy=_REMEDY,
    )


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)
