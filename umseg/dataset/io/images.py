"""Reading images and label maps, writing label maps: the formats of ``formats``, and DICOM series."""

# SimpleITK's methods carry no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.common.files import atomic_path
from umseg.dataset.io.channels import Notice, fit_channels
from umseg.dataset.io.dicom import is_dicom_image, open_series
from umseg.dataset.io.formats import LOSSY_ENDINGS, NATURAL_ENDINGS, has_ending, itk_class
from umseg.dataset.io.grid import Geometry, most_telling, placement_difference, spacings_agree
from umseg.dataset.io.itk import open_itk, write_itk
from umseg.dataset.io.nifti import is_nifti, open_oblique, read_floats, write_oblique
from umseg.dataset.io.source import (
    DamagedFileError,
    Source,
    last_line,
    refuse_many_axes,
    unreadable,
    within_memory,
)
from umseg.dataset.io.stacks import fit_stack, missing_spacing, slice_pages
from umseg.dataset.io.tiff import is_tiff
from umseg.dataset.io.tiff_write import write_stack

SLICE_SPACING_FACTOR = 999.0
_TIFF_BYTES = 4
_PNG_LIMIT = np.iinfo(np.uint16).max


@dataclass(frozen=True)
class Image:
    """An image as arrays.

    Attributes:
        array: (channels, z, y, x) float32; z is 1 for a 2-D file.
        spacing: (z, y, x) in mm, or pixels where the geometry's unit is not mm; see :func:`read_image`.
        geometry: The grid of the first file, with the spacing of the file that says most of it.
        notices: What the user should know of the files.
    """

    array: NDArray[np.float32]
    spacing: tuple[float, float, float]
    geometry: Geometry
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True)
class LabelMap:
    """A label map as an array.

    Attributes:
        array: (z, y, x), the smallest signed integer type that holds the values.
        spacing: (z, y, x); as in :class:`Image`.
        geometry: The grid of the file.
    """

    array: NDArray[np.signedinteger[Any]]
    spacing: tuple[float, float, float]
    geometry: Geometry


def read_image(paths: Sequence[Path], num_channels: int | None = None) -> Image:
    """Read a case: one file per channel, or one file with several components (e.g. RGB), which become channels.

    A folder that holds a DICOM series counts as a file.

    A 2-D file becomes (channels, 1, y, x). Its first spacing is 999 times the larger in-plane spacing, so that the
    slice axis always counts as the one of lowest resolution; natural images (PNG, TIFF, ...) have no physical size
    and get (999, 1, 1), as in nnU-Net. TIFF stacks have the spacing that ImageJ or OME wrote or that a JSON file beside
    them says (``stacks.fit_stack``); one channel may say it for all.

    Args:
        paths: The case's files.
        num_channels: What the data set declares: components beyond it are left out where they say nothing (see
            ``fit_channels``). None: all components of a single file are channels.

    Raises:
        UserError: A file is missing, damaged, 4-D or complex, or the channels differ in shape or spacing.
    """
    if not paths:
        raise ValueError("read_image needs at least one path")
    first_path, *others = map(Path, paths)
    first, geometry, notices = _read_fitting(first_path, 1 if others else num_channels)
    if not others:
        with within_memory(first_path, geometry, len(first)):
            array = np.require(first, np.float32, ("C", "O", "W"))
        return Image(array, _array_spacing(geometry), geometry, (*notices, *missing_spacing(first_path, geometry)))
    _check_channel(first, geometry, geometry, first_path, first_path)
    with within_memory(first_path, geometry, len(paths)):
        array = np.empty((len(paths), *geometry.shape), dtype=np.float32)
    array[0] = first[0]
    for channel, path in enumerate(others, start=1):
        values, grid, more = _read_fitting(path, 1)
        _check_channel(values, grid, geometry, path, first_path)
        notices += (*more, *_placement_notice(grid, geometry, path, first_path))
        array[channel] = values[0]
        told = most_telling([geometry, grid])
        geometry = replace(geometry, spacing=told.spacing, unit=told.unit)
    return Image(array, _array_spacing(geometry), geometry, (*notices, *missing_spacing(first_path, geometry)))


def read_label(path: Path) -> LabelMap:
    """Read a label map. Float files are accepted when every value is a whole number.

    Raises:
        UserError: The file is missing, damaged, 4-D, lossy (JPEG), has several components or fractional values.
    """
    path = Path(path)
    _refuse_lossy(path)
    # ITK shows a grey bitmap as three equal colours.
    values, geometry, _ = _read_fitting(path, 1)
    if values.shape[0] > 1:
        raise UserError(
            "A label map has several components per voxel.",
            file=path,
            found=f"{values.shape[0]} components",
            expected="one whole number per voxel",
            remedy="Save the label map as a grey-scale image whose values are the labels, without a colour palette.",
        )
    return LabelMap(_to_smallest_signed(values[0], path), _array_spacing(geometry), geometry)


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


def write_label(path: Path, array: NDArray[np.integer[Any]], geometry: Geometry) -> None:
    """Write a label map, compressed, in the smallest unsigned type, whole or not at all.

    Args:
        path: Its ending chooses the format.
        array: (z, y, x), values at least 0; z is 1 for a 2-D geometry.
        geometry: As read from the input: the file gets exactly this grid.

    Raises:
        UserError: The format is lossy, unknown, or cannot hold the map; or the file cannot be written.
    """
    path = Path(path)
    itk_class(path)
    _refuse_lossy(path)
    if array.shape != geometry.shape:
        raise ValueError(f"array has shape {array.shape}, the geometry {geometry.shape}")
    if array.size and int(array.min()) < 0:
        raise ValueError(f"label values are at least 0, found {int(array.min())}")
    largest = int(array.max(initial=0))
    _refuse_too_large(largest, path)
    values = array.astype(np.min_scalar_type(largest), copy=False)
    with atomic_path(path) as temporary:
        try:
            _write_values(temporary, path, values, geometry)
        except RuntimeError as error:
            raise UserError(
                "The label map cannot be written in this format.",
                file=path,
                found=last_line(error),
                remedy="Choose another file ending (e.g. .nii.gz), and check that the disk is not full.",
            ) from error


def _write_values(temporary: Path, path: Path, values: NDArray[np.unsignedinteger[Any]], geometry: Geometry) -> None:
    if geometry.dimensions == 3 and is_tiff(path) and values.itemsize <= _TIFF_BYTES:
        write_stack(temporary, values, geometry.spacing, geometry.unit)
        return
    if geometry.dimensions == 3 and is_nifti(path) and not geometry.is_orthogonal:
        write_oblique(temporary, values, geometry)
        return
    from umseg.dataset.io.lazy_sitk import sitk

    image = sitk.GetImageFromArray(values[0] if geometry.dimensions == 2 else values)
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    write_itk(image, temporary, path)


def _open(path: Path) -> Source:
    """Read the header of a file or of a DICOM series."""
    if is_dicom_image(path):
        return open_series(path)
    if not path.is_file():
        raise UserError(
            "An image file does not exist.",
            file=path,
            found="a folder" if path.is_dir() else None,
            remedy="Check the path; put the file back or take the case out of the data set.",
        )
    pages = slice_pages(path) if is_tiff(path) else []
    try:
        source = open_itk(path)
    except (RuntimeError, DamagedFileError, OSError) as error:
        oblique = open_oblique(path) if is_nifti(path) else None
        if oblique is None:
            raise unreadable(path, error) from error
        return oblique
    if is_tiff(path):
        source = fit_stack(path, source, pages)
    if source.geometry.dimensions == 2 and has_ending(path, NATURAL_ENDINGS):
        source = replace(source, geometry=replace(source.geometry, unit=None))
    return source


def _read(path: Path) -> tuple[NDArray[Any], Geometry, tuple[Notice, ...]]:
    """Read a file completely, or raise: never a partly filled image.

    Returns:
        (components, z, y, x), the grid, and what the user should know.
    """
    source = _open(path)
    refuse_many_axes(path, source.geometry.size)
    try:
        with within_memory(path, source.geometry, source.components):
            values = read_floats(path, source.geometry) if is_nifti(path) else None
            return (source.read() if values is None else values), source.geometry, source.notices
    except (RuntimeError, OSError, DamagedFileError) as error:
        raise unreadable(path, error) from error


def _read_fitting(path: Path, channels: int | None) -> tuple[NDArray[Any], Geometry, tuple[Notice, ...]]:
    values, geometry, notices = _read(path)
    if channels is None:
        return values, geometry, notices
    values, more = fit_channels(values, channels, path)
    return values, geometry, (*notices, *more)


def _array_spacing(geometry: Geometry) -> tuple[float, float, float]:
    """Spacing (z, y, x) of the array made from a file; see :func:`read_image`."""
    if geometry.dimensions == 2:
        x, y = (1.0, 1.0) if geometry.unit is None else geometry.spacing
        return SLICE_SPACING_FACTOR * max(x, y), y, x
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
            found="size " + " x ".join(map(str, grid.size)),
            expected="size " + " x ".join(map(str, first.size)) + f", as in {first_path.name}",
            remedy=remedy,
        )
    if not spacings_agree(grid, first):
        raise UserError(
            "The channels of a case differ in spacing.",
            file=path,
            found=f"spacing {grid.spacing} {grid.unit}",
            expected=f"spacing {first.spacing} {first.unit}, as in the channels before",
            remedy=remedy,
        )


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


def _to_smallest_signed(values: NDArray[Any], path: Path) -> NDArray[np.signedinteger[Any]]:
    """A copy in the smallest signed integer type."""
    if values.dtype.kind == "f":
        wrong = ~(np.isfinite(values) & (values == np.rint(values)))
        if wrong.any():
            raise UserError(
                "A label map has values that are not whole numbers.",
                file=path,
                found=f"{float(values[wrong][0]):g} and {int(wrong.sum()) - 1} more such voxels",
                expected="whole numbers",
                remedy="Save the labels as integers (label maps are resampled without interpolation of values).",
            )
    low, high = int(values.min()), int(values.max())
    for dtype in (np.int8, np.int16, np.int32):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return values.astype(dtype)
    return values.astype(np.int64)


def _refuse_lossy(path: Path) -> None:
    if has_ending(path, LOSSY_ENDINGS):
        raise UserError(
            "JPEG changes the values of a label map.",
            file=path,
            expected="a lossless format",
            remedy="Use .png for 2-D label maps.",
        )


def _refuse_too_large(largest: int, path: Path) -> None:
    if largest > _PNG_LIMIT and path.suffix.lower() == ".png":
        raise UserError(
            "A PNG cannot hold so large a label value.",
            file=path,
            found=f"{largest} (in an instance task: the number of objects)",
            expected=f"at most {_PNG_LIMIT}",
            remedy="Keep the images in a format whose label maps hold 32 bits (.tif, .nii.gz), or cut them in parts.",
        )
