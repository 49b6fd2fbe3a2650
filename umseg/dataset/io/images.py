"""Reading images and label maps, writing label maps: in the formats of ``registry.FORMATS``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.common.files import staged_path
from umseg.common.memory import exceeded_memory
from umseg.common.text import by
from umseg.dataset.io.channels import fit_channels
from umseg.dataset.io.grid import NO_SLICE_SPACING, Geometry, most_telling, placement_difference, spacings_agree
from umseg.dataset.io.label_values import to_smallest_signed, whole_numbers
from umseg.dataset.io.orientation import turn_onto
from umseg.dataset.io.registry import UNKNOWN, format_of
from umseg.dataset.io.soundness import sound_geometry
from umseg.dataset.io.source import (
    DamagedFileError,
    Notice,
    Source,
    last_line,
    refuse_many_axes,
    unreadable,
    within_memory,
)
from umseg.dataset.listing import refuse_missing

# Types that images keep if they are read as stored: float32 holds all their values.
_KEPT = frozenset(np.dtype(name) for name in ("uint8", "int8", "uint16", "int16", "float32"))


@dataclass(frozen=True)
class Image:
    """An image as arrays.

    Attributes:
        array: (channels, z, y, x); z is 1 for a 2-D file. float32, or where it was read as stored one of the smaller
            types whose values float32 holds.
        spacing: (z, y, x) in mm, or pixels where the geometry's unit is not mm; see :func:`read_image`.
        geometry: The grid of the first file, with the spacing of the file that states it best.
        notices: What the user should know about the files.
    """

    array: NDArray[Any]
    spacing: tuple[float, float, float]
    geometry: Geometry
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True)
class LabelMap:
    """A label map as an array.

    Attributes:
        array: (z, y, x), of the smallest signed integer type that holds the values.
        spacing: (z, y, x), as in :class:`Image`.
        geometry: The grid of the file.
        notices: What the user should know about the file.
    """

    array: NDArray[np.signedinteger[Any]]
    spacing: tuple[float, float, float]
    geometry: Geometry
    notices: tuple[Notice, ...] = ()


def read_image(paths: Sequence[Path], num_channels: int | None = None, *, as_stored: bool = False) -> Image:
    """Read a case: one file per channel, or one file with several components (e.g. RGB), which become channels.

    A folder that is an image, e.g. one of DICOM slices, counts as a file.

    A 2-D file becomes (channels, 1, y, x). Its first spacing is 999 times the larger in-plane spacing, so that the
    slice axis always counts as the one of lowest resolution; natural images (PNG, TIFF, ...) have no physical size
    and get (999, 1, 1), as in nnU-Net. The spacing of a TIFF stack is the one that ImageJ or OME wrote or that a JSON
    file beside it states; one channel may state it for all.

    Args:
        paths: Files of the case.
        num_channels: Number of channels that the data set declares. Further components are left out where they carry
            no information (see ``fit_channels``). None: all components of a single file are channels.
        as_stored: Whether numbers of 8 and 16 bits keep their type, which takes a quarter or half of the memory.

    Raises:
        UserError: A file is missing, damaged, 4-D or complex, or the channels differ in shape or spacing.
    """
    if not paths:
        raise ValueError("read_image needs at least one path")
    first_path, *others = map(Path, paths)
    first, geometry, notices = _read_fitting(first_path, 1 if others else num_channels)
    dtype = first.dtype if as_stored and first.dtype in _KEPT else np.dtype(np.float32)
    if not others:
        with within_memory(first_path, geometry, len(first)):
            array = np.require(first, dtype, ("C", "W"))
        return Image(array, array_spacing(geometry), geometry, (*notices, *_missing_spacing(first_path, geometry)))
    _check_channel(first, geometry, geometry, first_path, first_path)
    with within_memory(first_path, geometry, len(paths), dtype.itemsize):
        array = np.empty((len(paths), *geometry.shape), dtype=dtype)
    array[0] = first[0]
    del first
    for channel, path in enumerate(others, start=1):
        values, grid, of_file = _along_first(_read_fitting(path, 1), path, geometry, first_path)
        _check_channel(values, grid, geometry, path, first_path)
        notices += (*of_file, *_placement_notice(grid, geometry, path, first_path))
        if not np.can_cast(values.dtype, array.dtype) and array.dtype != np.float32:
            array = array.astype(np.float32)
        array[channel] = values[0]
        best = most_telling([geometry, grid])
        geometry = replace(geometry, spacing=best.spacing, unit=best.unit)
    return Image(array, array_spacing(geometry), geometry, (*notices, *_missing_spacing(first_path, geometry)))


def read_label(path: Path) -> LabelMap:
    """Read a label map. Values within 0.001 of whole numbers, as scale factors in a header make them, are rounded.

    Raises:
        UserError: The file is missing, damaged, 4-D, lossy (JPEG), has several components or fractional values.
    """
    path = Path(path)
    if format_of(path).lossy:
        raise _lossy_label(path)
    values, geometry, notices = _read_fitting(path, 1, as_label=True)
    if values.shape[0] > 1:
        raise UserError(
            "A label map has several components per voxel.",
            file=path,
            found=f"{values.shape[0]} components",
            expected="one whole number per voxel",
            remedy="Save the label map as a greyscale image whose values are the labels, or with a palette whose "
            "indices are the labels. Colours and a transparency that varies are no labels; layers of segments "
            "that overlap have to be merged into one.",
        )
    labels, rounded = whole_numbers(values[0], path)
    array = to_smallest_signed(labels, path)
    return LabelMap(array, array_spacing(geometry), geometry, (*notices, *rounded))


def count_components(path: Path) -> int:
    """Number of components per voxel (3 for RGB), from the header alone.

    Raises:
        UserError: The file is missing or its header cannot be read.
    """
    return _open(Path(path)).components


def read_geometry(path: Path) -> Geometry:
    """The grid of a file, from the header alone.

    Raises:
        UserError: The file is missing or its header cannot be read.
    """
    return _open(Path(path)).geometry


def refuse_flat(path: Path, geometry: Geometry) -> None:
    """Refuse a file for a label map of several slices whose format holds one.

    Raises:
        UserError: The format holds a single slice.
    """
    if geometry.shape[0] > 1 and format_of(path).flat:
        raise UserError(
            f"{format_of(path).name} holds a single slice.",
            file=path,
            found=f"a label map of {geometry.shape[0]} slices",
            expected="a format of volumes, such as nii.gz, nrrd or mha",
            remedy="Choose another --format.",
        )


def write_label(path: Path, array: NDArray[np.integer[Any]], geometry: Geometry) -> None:
    """Write a label map, compressed, in the smallest unsigned type, whole or not at all.

    The file is read again before it replaces an earlier one: some libraries do not report that the disk is full.

    Args:
        path: The file, whose ending chooses the format.
        array: (z, y, x), values at least 0; z is 1 for a 2-D geometry.
        geometry: The grid of the input, which the file gets unchanged.

    Raises:
        UserError: The format is lossy, unknown, or cannot hold the map; or the file cannot be written, or does not hold
            what was written.
    """
    path = Path(path)
    if array.shape != geometry.shape:
        raise ValueError(f"array has shape {array.shape}, the geometry {geometry.shape}")
    if array.size and int(array.min()) < 0:
        raise ValueError(f"label values are at least 0, found {int(array.min())}")
    entry = format_of(path)
    if entry.lossy:
        raise _lossy_label(path)
    refuse_flat(path, geometry)
    values = array.astype(np.min_scalar_type(int(array.max(initial=0))), copy=False)
    try:
        with staged_path(path) as staged:
            entry.write_label(staged, values, geometry)
            _check_written(staged, path, values)
    except DamagedFileError as error:
        raise _not_whole(path, str(error)) from error
    except RuntimeError as error:
        raise UserError(
            "The label map cannot be written in this format.",
            file=path,
            found=last_line(error),
            remedy="Choose another file ending (e.g. .nii.gz), and check that the disk is not full.",
        ) from error


def _check_written(staged: Path, path: Path, values: NDArray[np.unsignedinteger[Any]]) -> None:
    try:
        if _holds(staged, values):
            return
        found = "other values than those that were written"
    except UserError as error:
        found = error.found or error.problem
    raise _not_whole(path, found)


def _holds(path: Path, values: NDArray[np.unsignedinteger[Any]]) -> bool:
    """Whether a label map has these values, (z, y, x)."""
    source = _open(path, as_label=True)
    if source.holds is None:
        written, _, _ = _read_fitting(path, 1, as_label=True)
        return written.shape == (1, *values.shape) and np.array_equal(written[0], values)
    try:
        return source.components == 1 and source.geometry.shape == values.shape and source.holds(values)
    except (RuntimeError, OSError, DamagedFileError) as error:
        raise unreadable(path, error) from error


def _not_whole(path: Path, found: str) -> UserError:
    return UserError(
        "The label map was not written completely.",
        file=path,
        found=found,
        remedy="Check that the disk is not full and that no quota is used up, and run the same command again.",
    )


def _open(path: Path, as_label: bool = False) -> Source:
    """Read the header of an image, or of a label map, whose stored numbers count instead of what viewers show.

    Raises:
        UserError: There is no such image, or it cannot be used; a pipe or a device is not even opened.
    """
    entry = format_of(path)
    refuse_missing(path, folders=entry is not UNKNOWN)
    try:
        source = entry.open_label(path) if as_label else entry.open(path)
    except (RuntimeError, DamagedFileError, OSError) as error:
        raise unreadable(path, error) from error
    geometry, notices = sound_geometry(path, source.geometry)
    return replace(source, geometry=geometry, notices=(*source.notices, *notices))


def _read(path: Path, as_label: bool = False) -> tuple[NDArray[Any], Geometry, tuple[Notice, ...]]:
    """Read a file completely, or raise: never a partly filled image.

    Returns:
        (components, z, y, x), the grid, and what the user should know.
    """
    source = _open(path, as_label)
    refuse_many_axes(path, source.geometry.size)
    try:
        needed = source.components * math.prod(source.geometry.size)
        if exceeded_memory(needed) is not None:
            # A header that promises so much is rather damaged; that is found in little memory.
            format_of(path).check(path, needed)
        with within_memory(path, source.geometry, source.components):
            values = source.read()
        return values, source.geometry, (*source.notices, *source.late_notices())
    except (RuntimeError, OSError, DamagedFileError) as error:
        raise unreadable(path, error) from error


def _read_fitting(
    path: Path, channels: int | None, as_label: bool = False
) -> tuple[NDArray[Any], Geometry, tuple[Notice, ...]]:
    values, geometry, notices = _read(path, as_label)
    if channels is None:
        return values, geometry, notices
    values, left_out = fit_channels(values, channels, path)
    return values, geometry, (*notices, *left_out)


def array_spacing(geometry: Geometry) -> tuple[float, float, float]:
    """Spacing (z, y, x) of the array that is made of an image of this grid; see :func:`read_image`."""
    if geometry.dimensions == 2:
        x, y = (1.0, 1.0) if geometry.unit is None else geometry.spacing
        return NO_SLICE_SPACING * max(x, y), y, x
    x, y, z = geometry.spacing
    return z, y, x


def _check_channel(values: NDArray[Any], grid: Geometry, first: Geometry, path: Path, first_path: Path) -> None:
    """Every channel file is one grey-scale image on the grid of the first."""
    remedy = "Resample the channels to one grid, or correct the wrong file."
    if values.shape[0] != 1:
        raise UserError(
            "A case of several files has a file with several components.",
            file=path,
            found=f"{values.shape[0]} components",
            expected="either one file with all channels, or one grey-scale file per channel",
            remedy="Split the colours into one file per channel, or merge all channels in one file.",
        )
    if grid.size != first.size:
        raise UserError(
            "The channels of a case differ in size.",
            file=path,
            found=f"size {by(grid.size)}",
            expected=f"size {by(first.size)}, as in {first_path.name}",
            remedy=remedy,
        )
    if not spacings_agree(grid, first):
        raise UserError(
            "The channels of a case differ in spacing.",
            file=path,
            found=f"spacing {grid.spacing} {grid.unit}",
            expected=f"spacing {first.spacing} {first.unit}, as in the previous channels",
            remedy=remedy,
        )


def _along_first(
    channel: tuple[NDArray[Any], Geometry, tuple[Notice, ...]], path: Path, first: Geometry, first_path: Path
) -> tuple[NDArray[Any], Geometry, tuple[Notice, ...]]:
    """A channel along the axes of the first one, where both lie on the same grid in space."""
    values, grid, notices = channel
    turn = turn_onto(path, grid, first_path, first)
    if not turn:
        return channel
    notice = Notice(
        "The channels of a case are stored along different axes.",
        path,
        found=f"direction {by(round(value, 3) for value in grid.direction)}",
        expected=f"that of {first_path.name}",
        remedy="They lie on the same grid in space: the channel is turned to the axes of the first.",
    )
    return turn.array(values), turn.geometry(grid), (*notices, notice)


def _placement_notice(grid: Geometry, first: Geometry, path: Path, first_path: Path) -> tuple[Notice, ...]:
    difference = placement_difference(grid, first)
    if difference is None:
        return ()
    found, expected = difference
    return (
        Notice(
            "The channels of a case differ in origin or direction.",
            path,
            found,
            f"{expected}, as in {first_path.name}",
            remedy="Voxels are paired by their index; check in a viewer that the channels overlap.",
        ),
    )


def _missing_spacing(path: Path, geometry: Geometry) -> tuple[Notice, ...]:
    """A notice for a stack whose spacing none of its files states."""
    if geometry.dimensions == 2 or geometry.unit is not None:
        return ()
    return (
        Notice(
            "A stack of slices does not state how far they are apart: its voxels are taken as cubes.",
            path,
            found=f"{geometry.size[2]} slices without a spacing",
            expected="the size of a voxel in the file or beside it",
            remedy=format_of(path).spacing_remedy,
        ),
    )


def _lossy_label(path: Path) -> UserError:
    entry = format_of(path)
    return UserError(
        f"{entry.name} changes the values of a label map.",
        file=path,
        expected="a lossless format",
        remedy=f"Use {entry.label_ending(path.suffix)} for label maps.",
    )
