"""The orientation of an image: where its axes point, and turning it to other axes by permutation and flips.

An orientation is written as axis codes: the side to which each axis of the file (x, y, z) points, of Left, Right,
Anterior, Posterior, Superior and Inferior. ``RAS`` means that x grows to the right, y to the front, z to the top.
"""

# nibabel's functions carry no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator

from umseg.common.errors import UserError
from umseg.dataset.io.grid import Geometry, placement_difference, spacings_agree
from umseg.dataset.io.registry import format_of

_SIDES = (frozenset("LR"), frozenset("AP"), frozenset("SI"))
# Between the directions of axes that point the same way: rounding and small corrections, far from a permutation.
_SAME_WAY = 0.05
# In voxels: two grids that are further apart are not the same one.
_SAME_PLACE = 0.5

ScalarT = TypeVar("ScalarT", bound=np.generic)


@dataclass(frozen=True)
class Turn:
    """A permutation of the axes with flips.

    Attributes:
        places: For each axis (x, y, z) its place afterwards.
        signs: For each axis 1, or -1 where it is flipped.
    """

    places: tuple[int, ...] = (0, 1, 2)
    signs: tuple[int, ...] = (1, 1, 1)

    @classmethod
    def between(cls, start: str | None, end: str | None) -> Turn:
        """The turn from one orientation to another; none at all where either is unknown."""
        from nibabel.orientations import axcodes2ornt, ornt_transform

        if start is None or end is None:
            return cls()
        steps = ornt_transform(axcodes2ornt(start), axcodes2ornt(end))
        return cls(tuple(int(place) for place, _ in steps), tuple(int(sign) for _, sign in steps))

    def __bool__(self) -> bool:
        """Whether anything is turned."""
        return self != Turn()

    @property
    def inverse(self) -> Turn:
        """The turn back."""
        axes = [self.places.index(place) for place in range(3)]
        return Turn(tuple(axes), tuple(self.signs[axis] for axis in axes))

    def array(self, values: NDArray[ScalarT]) -> NDArray[ScalarT]:
        """A turned copy of an array (..., z, y, x); the array itself where nothing is turned."""
        return np.ascontiguousarray(self.view(values)) if self else values

    def view(self, values: NDArray[ScalarT]) -> NDArray[ScalarT]:
        """An array (..., z, y, x) as it is when it is turned, in the same memory."""
        if not self:
            return values
        from nibabel.orientations import apply_orientation

        steps = np.stack([self.places, self.signs], axis=1)
        turned: NDArray[Any] = apply_orientation(values.T, steps).T
        return turned

    def spacing(self, spacing: tuple[float, float, float]) -> tuple[float, float, float]:
        """The spacing (z, y, x) of a turned array."""
        x, y, z = self._moved(spacing[::-1])
        return z, y, x

    def geometry(self, grid: Geometry) -> Geometry:
        """The grid of a turned image, whose voxels stay where they are in space."""
        if not self:
            return grid
        axes = np.reshape(grid.direction, (3, 3)) * np.asarray(self.signs)
        ends = [
            (size - 1) * step if sign < 0 else 0.0
            for size, step, sign in zip(grid.size, grid.spacing, self.signs, strict=True)
        ]
        origin = np.asarray(grid.origin) - axes @ np.asarray(ends)
        return replace(
            grid,
            nifti=None,
            size=self._moved(grid.size),
            spacing=self._moved(grid.spacing),
            origin=tuple(float(value) for value in origin),
            direction=tuple(float(value) for value in np.stack(self._moved(axes.T), axis=1).ravel()),
        )

    def _moved(self, per_axis: Iterable[Any]) -> tuple[Any, ...]:
        values = tuple(per_axis)
        return tuple(values[self.places.index(place)] for place in range(3))


def stored_axes(path: Path, grid: Geometry) -> str | None:
    """The orientation in which an image is stored: the axes of the body that its axes are nearest to.

    Args:
        path: The image, whose format says whether its files have a place in space.
        grid: Its grid.

    Returns:
        Axis codes; None for 2-D images and for files that state no place in space, such as TIFF stacks and NIfTI files
        without qform and sform.
    """
    return None if format_of(path).is_picture else grid_axes(grid)


def grid_axes(grid: Geometry) -> str | None:
    """The same of a grid that states its place in space."""
    if grid.dimensions != 3 or not np.isfinite(grid.direction).all():
        return None
    if grid.nifti is not None and not (grid.nifti.qform_code or grid.nifti.sform_code):
        # The header has neither form: the axes that readers then assume differ from one to the other.
        return None
    from nibabel.orientations import io_orientation, ornt2axcodes

    # From ITK's axes (to the left, back and top) to nibabel's (to the right, front and top).
    axes = np.diag([-1.0, -1.0, 1.0]) @ np.reshape(grid.direction, (3, 3))
    affine = np.eye(4)
    affine[:3, :3] = axes * np.asarray(grid.spacing)
    codes = ornt2axcodes(io_orientation(affine))
    return None if None in codes else "".join(codes)


def common_axes(orientations: Iterable[str | None]) -> str | None:
    """The orientation that all images have whose orientation is known; None if they differ or none is known."""
    known = {axes for axes in orientations if axes is not None}
    return known.pop() if len(known) == 1 else None


def count_axes(orientations: Iterable[str | None]) -> list[tuple[str, int]]:
    """The known orientations with their numbers of images, the most frequent first."""
    counts = Counter(axes for axes in orientations if axes is not None)
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def parse_axes(text: str) -> str:
    """Axis codes as a user writes them, in capitals.

    Raises:
        UserError: They are not one of each pair of sides.
    """
    codes = text.strip().upper()
    if not _are_axes(codes):
        raise UserError(
            "The orientation is not valid.",
            found=text,
            expected="three letters: R or L, A or P, and S or I, in the order of the axes x, y, z; for example RAS",
            remedy="Correct --reorient.",
        )
    return codes


def _are_axes(codes: str) -> bool:
    return len(codes) == 3 and all(any(code in sides for code in codes) for sides in _SIDES)


def _check_axes(codes: str) -> str:
    if not _are_axes(codes):
        raise ValueError("axis codes such as RAS: one of R and L, of A and P, and of S and I")
    return codes


AxisCodes = Annotated[str, AfterValidator(_check_axes)]
"""A field of a record that holds the codes of three axes."""


def turn_onto(path: Path, grid: Geometry, other_path: Path, other: Geometry) -> Turn | None:
    """The turn that brings an image onto the grid of another one that is stored along other axes.

    Returns:
        No turn for two grids whose axes point the same way, wherever they lie, or that say nothing of it; None for two
        grids along different axes that are not the same grid in space.
    """
    if grid.dimensions != 3 or other.dimensions != 3:
        return Turn()
    if np.allclose(grid.direction, other.direction, rtol=0, atol=_SAME_WAY):
        return Turn()
    turn = Turn.between(stored_axes(path, grid), stored_axes(other_path, other))
    if not turn:
        return turn
    turned = turn.geometry(grid)
    return turn if _same_grid(turned, other) else None


def _same_grid(grid: Geometry, other: Geometry) -> bool:
    if grid.size != other.size or not spacings_agree(grid, other):
        return False
    if placement_difference(grid, other) is None:
        return True
    shift = np.abs(np.subtract(grid.origin, other.origin)) / np.asarray(other.spacing)
    return bool(np.allclose(grid.direction, other.direction, rtol=0, atol=_SAME_WAY) and np.max(shift) < _SAME_PLACE)
