"""NIfTI files through nibabel: their length, and what ITK does not return or write. Imports nibabel."""

# nibabel's methods carry no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from umseg.dataset.io.formats.damage import INFLATE_ERROR, expect_bytes, inflated_size
from umseg.dataset.io.grid import Geometry
from umseg.dataset.io.source import DamagedFileError, Notice, Source

NIBABEL_ERRORS = (
    nibabel.filebasedimages.ImageFileError,
    nibabel.spatialimages.HeaderDataError,
    OSError,
    ValueError,
    EOFError,
    OverflowError,
    zlib.error,
    INFLATE_ERROR,
)
"""What nibabel raises for a file that is no NIfTI, or a damaged one."""

# From NIfTI's axes (to the right, front and top) to ITK's (to the left, back and top).
_TO_ITK = np.diag([-1.0, -1.0, 1.0])
_MM = {"meter": 1000.0, "micron": 1e-3}
_ALIGNED = 2


def check_file(path: Path) -> None:
    """Verify the length of a file, and the checksum of a compressed one, which is read to its end in little memory.

    Raises:
        DamagedFileError: Data are missing, a checksum is wrong, or the file cannot be read.
    """
    try:
        image: Any = nibabel.load(path)
        voxels = math.prod(int(size) for size in image.header.get_data_shape())
        needed = int(image.dataobj.offset) + voxels * int(image.header.get_data_dtype().itemsize)
        packed = path.name.lower().endswith(".gz")
        expect_bytes(inflated_size(path) if packed else path.stat().st_size, needed)
    except NIBABEL_ERRORS as error:
        raise DamagedFileError(str(error)) from error


def read_floats(path: Path, geometry: Geometry) -> NDArray[Any] | None:
    """The values of a grey-scale file of floating-point numbers, (1, z, y, x), or None for any other file.

    ITK replaces NaN and infinity in such files by zero without a word; nibabel returns what is in the file.
    """
    try:
        image: Any = nibabel.load(path)
        if image.get_data_dtype().kind != "f" or math.prod(image.shape) != math.prod(geometry.size):
            return None
        check_file(path)
        values: NDArray[Any] = np.asarray(image.dataobj).T.reshape((1, *geometry.shape))
    except NIBABEL_ERRORS as error:
        raise DamagedFileError(str(error)) from error
    return values


def open_oblique(path: Path) -> Source | None:
    """Open a file that ITK refuses because its axes are not at right angles, or because it is NIfTI-2.

    Returns:
        The opened file; None if it has another fault.

    The affine is nibabel's: the sform, or else the qform.
    """
    try:
        image: Any = nibabel.load(path)
    except NIBABEL_ERRORS:
        return None
    affine = np.asarray(image.affine, dtype=np.float64) * _MM.get(image.header.get_xyzt_units()[0], 1.0)
    axes, origin = _TO_ITK @ affine[:3, :3], _TO_ITK @ affine[:3, 3]
    numbers = image.get_data_dtype().kind in "biuf"
    if not (numbers and np.isfinite(affine[:3]).all() and np.linalg.det(axes) != 0):
        return None
    spacing = np.linalg.norm(axes, axis=0)
    size = tuple(int(n) for n in image.shape)
    while len(size) > 3 and size[-1] == 1:
        size = size[:-1]
    geometry = Geometry(
        (*size, 1, 1, 1)[: max(3, len(size))],
        tuple(map(float, spacing)),
        tuple(map(float, origin)),
        tuple(map(float, (axes / spacing).ravel())),
    )
    volume = Geometry(geometry.size[:3], geometry.spacing, geometry.origin, geometry.direction)
    notices = () if volume.is_orthogonal else (_shear_notice(path, axes / spacing),)
    return Source(geometry, 1, lambda: _values(path, geometry), notices)


def write_oblique(path: Path, array: NDArray[Any], geometry: Geometry) -> None:
    """Write (z, y, x) with the exact affine as its sform; ITK would turn the axes until they are at right angles."""
    affine = np.eye(4)
    affine[:3, :3] = _TO_ITK @ np.reshape(geometry.direction, (3, 3)) * np.asarray(geometry.spacing)
    affine[:3, 3] = _TO_ITK @ np.asarray(geometry.origin)
    image: Any = nibabel.Nifti1Image(array.T, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=_ALIGNED)
    image.set_qform(None, code=0)
    nibabel.save(image, path)


def _values(path: Path, geometry: Geometry) -> NDArray[Any]:
    check_file(path)
    image: Any = nibabel.load(path)
    try:
        values: NDArray[Any] = np.asarray(image.dataobj).T.reshape((1, *geometry.shape))
    except NIBABEL_ERRORS as error:
        raise DamagedFileError(str(error)) from error
    return values


def _shear_notice(path: Path, directions: NDArray[np.float64]) -> Notice:
    cosines = directions.T @ directions
    angles = np.degrees(np.arccos(np.clip(cosines[np.triu_indices(3, 1)], -1, 1)))
    return Notice(
        "The axes of an image are not at right angles.",
        path,
        found="angles of " + ", ".join(f"{angle:.2f}" for angle in angles) + " degrees",
        expected="90 degrees",
        remedy="Voxels are taken as if the axes were, with the lengths of the axes as spacing; label maps get the "
        "image's own axes. Resample the image if the angles are far from 90 degrees.",
    )
