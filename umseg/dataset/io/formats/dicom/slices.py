"""The grid of a DICOM series: the order and the distance of its slices, and whether they make a volume at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.dataset.io.grid import Geometry
from umseg.dataset.io.source import Notice

# Directions are unit vectors; positions are in mm. DICOM writes both as decimal text of at most 16 characters.
_SAME_DIRECTION = 1e-3
_SAME_PLACE = 1e-2
# As parts of the usual distance of slices: a gap; what is noticed and what is refused as a shift from an even grid.
_GAP = 1.5
_UNEVEN = 0.2
_FAR_OFF = 0.5


def arrange_slices(
    folder: Path,
    names: Sequence[str],
    size: tuple[int, int],
    spacing: tuple[float, float],
    axes: NDArray[np.float64],
    positions: NDArray[np.float64],
) -> tuple[list[int], Geometry, tuple[Notice, ...]]:
    """Order slices along their normal and give them one grid.

    Args:
        folder: The folder of the series, for messages.
        names: Names of the slices' files, for messages.
        size: Columns and rows of every slice.
        spacing: Distance in mm between columns (x) and between rows (y).
        axes: Unit vectors along a row (x) and down a column (y), (slices, 2, 3) (ImageOrientationPatient).
        positions: Centres of the first pixels in mm, (slices, 3) (ImagePositionPatient).

    Returns:
        The indices of the slices in order, the grid, and what the user should know about it.

    Raises:
        UserError: The slices differ in orientation, overlap, have gaps or are shifted sideways (gantry tilt).
    """
    _check_orientation(folder, axes)
    x, y = axes[0]
    normal = np.cross(x, y)
    heights = positions @ normal
    order = np.argsort(heights, kind="stable")
    heights, ordered = heights[order], [names[index] for index in order]
    notices: tuple[Notice, ...] = ()
    if len(order) > 1:
        _check_places(folder, heights)
        _check_gaps(folder, ordered, heights)
        _check_tilt(folder, positions[order], heights, np.stack([x, y]), spacing)
        notices = _check_distances(folder, heights)
    step = float(heights[-1] - heights[0]) / max(len(order) - 1, 1)
    geometry = Geometry(
        (*size, len(order)),
        (*spacing, step),
        tuple(map(float, positions[order[0]])),
        tuple(map(float, np.stack([x, y, normal], axis=1).ravel())),
    )
    return [int(index) for index in order], geometry, notices


def _check_orientation(folder: Path, axes: NDArray[np.float64]) -> None:
    different = int(np.sum(np.abs(axes - axes[0]).max(axis=(1, 2)) > _SAME_DIRECTION))
    if different:
        raise UserError(
            "The slices of a DICOM series are not parallel.",
            file=folder,
            found=f"{different} of {len(axes)} slices with another orientation than the first",
            expected="one orientation",
            remedy="Survey images (localizers) and volumes of other orientations belong in separate folders.",
        )


def _check_places(folder: Path, heights: NDArray[np.float64]) -> None:
    places = 1 + int(np.sum(np.diff(heights) > _SAME_PLACE))
    if places < len(heights):
        raise UserError(
            "A DICOM series has several slices at the same place.",
            file=folder,
            found=f"{len(heights)} slices at {places} places",
            expected="one slice per place",
            remedy="Time points, echoes and diffusion directions are separate volumes: put each into its own "
            "folder, or convert the series with dcm2niix. Remove files that are there twice; each X-ray needs a "
            "separate folder.",
        )


def _check_gaps(folder: Path, names: Sequence[str], heights: NDArray[np.float64]) -> None:
    distances = np.diff(heights)
    usual = float(np.median(distances))
    gaps = np.flatnonzero(distances > _GAP * usual)
    if gaps.size:
        first = int(gaps[0])
        missing = int(np.sum(np.rint(distances[gaps] / usual)) - gaps.size)
        raise UserError(
            "Slices of a DICOM series are missing.",
            file=folder,
            found=f"{max(missing, 1)} missing; the first gap, of {distances[first]:.2f} mm, between {names[first]} and "
            f"{names[first + 1]}",
            expected=f"a slice every {usual:.2f} mm",
            remedy="Copy the whole series again. If the scan itself has gaps, put the parts into separate folders.",
        )


def _check_tilt(
    folder: Path,
    positions: NDArray[np.float64],
    heights: NDArray[np.float64],
    axes: NDArray[np.float64],
    spacing: tuple[float, float],
) -> None:
    shifts = np.abs((positions - positions[0]) @ axes.T)
    if not np.any(shifts > np.abs(spacing)):
        return
    furthest = int(np.argmax(np.linalg.norm(shifts, axis=1)))
    shift, height = float(np.linalg.norm(shifts[furthest])), float(heights[furthest] - heights[0])
    raise UserError(
        "The slices of a DICOM series are shifted against each other: the gantry was tilted.",
        file=folder,
        found=f"a shift of {shift:.2f} mm over {height:.2f} mm, {np.degrees(np.arctan2(shift, height)):.1f} degrees",
        expected="slices straight above each other",
        remedy="Convert the series with dcm2niix, which corrects the tilt, and use its .nii.gz.",
    )


def _check_distances(folder: Path, heights: NDArray[np.float64]) -> tuple[Notice, ...]:
    even = np.linspace(heights[0], heights[-1], len(heights))
    step = float(even[1] - even[0])
    off = float(np.abs(heights - even).max())
    distances = np.diff(heights)
    found = f"distances from {distances.min():.2f} to {distances.max():.2f} mm"
    if off > _FAR_OFF * step:
        raise UserError(
            "The slices of a DICOM series are not evenly spaced.",
            file=folder,
            found=found,
            expected="one distance",
            remedy="Resample the series to even slices, or put parts of different spacing into separate folders.",
        )
    if off <= _UNEVEN * step:
        return ()
    return (
        Notice(
            "The slices of a DICOM series are not evenly spaced.",
            folder,
            found,
            "one distance",
            f"They are taken as {step:.2f} mm apart, which places them wrongly by up to {off:.2f} mm.",
        ),
    )
