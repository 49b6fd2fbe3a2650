"""Where a NIfTI header places an image: its spacing, origin and directions, in ITK's axes (to the left, back and top).

A header has two forms, the qform (a rotation) and the sform (any matrix). Which of them counts, and with which
rounding, is ITK's rule, so that a case has the same grid as in programs that read with ITK.
"""

# nibabel's methods carry no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from umseg.dataset.io.grid import Geometry, NiftiForms

# From NIfTI's axes (to the right, front and top) to ITK's (to the left, back and top).
TO_ITK = np.diag([-1.0, -1.0, 1.0])
_UNIT_MASK = 7
_MM = {1: 1000.0, 3: 1e-3}
_SCANNER = 1
_SKEW = 1e-4
_SMALL_QUATERNION = 1e-7
_FLAT = 1e-6
_RIGHT_ANGLE = 1e-5


@dataclass(frozen=True)
class Placement:
    """Spacing (mm), origin (mm) and row-major direction matrix of the first two or three axes, as the header has them.

    The spacing may be negative, zero or no number: see ``umseg.dataset.io.soundness``.
    """

    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]


def placement(forms: NiftiForms, dimensions: int) -> Placement:
    """Where the header's forms place an image of two or three dimensions.

    Without a form, the image begins at 0 and its axes are those of space. An sform whose axes are not at right angles
    and that stands alone, and the forms of NIfTI-2, which ITK does not read, give the lengths of the axes, too.
    """
    scale = _MM.get(forms.units & _UNIT_MASK, 1.0)
    spacing = tuple(size * scale for size in forms.pixdim)
    if forms.qform_code <= 0 and forms.sform_code <= 0:
        return _cut(Placement(spacing, (0.0,) * 3, tuple(np.eye(3).ravel().tolist())), dimensions)
    with np.errstate(all="ignore"):
        matrix = _preferred_form(forms) if forms.version == 1 else None
        if matrix is None:
            return _cut(_of_affine(_header_with(forms).get_best_affine()[:3] * scale), dimensions)
    if forms.sform_code > 0:
        spacing = tuple(
            size if math.isfinite(size) and size else length * scale
            for size, length in zip(spacing, sform_lengths(forms), strict=True)
        )
    axes = matrix.astype(np.float64) * np.diag(TO_ITK)[:, None]
    direction = np.stack([_unit(axes[:dimensions, axis].tolist()) for axis in range(dimensions)], axis=1)
    return Placement(spacing[:dimensions], tuple((axes[:dimensions, 3] * scale).tolist()), _directions(direction))


def sform_lengths(forms: NiftiForms) -> tuple[float, ...]:
    """The lengths of the sform's axes, in the header's unit: the size of a voxel, if the header agrees with itself."""
    lengths: list[float] = np.linalg.norm(np.reshape(forms.sform, (3, 4))[:, :3], axis=0).tolist()
    return tuple(lengths)


def label_header(geometry: Geometry, large: bool = False) -> Any:
    """A header of nibabel's for a label map of this grid.

    It has the forms of the NIfTI file that the grid was read from, field by field, or else both forms after the grid;
    axes that are not at right angles have no qform.

    Args:
        geometry: The grid.
        large: Whether NIfTI-2 is needed, because an axis is longer than NIfTI-1 can say.
    """
    forms = geometry.nifti
    if forms is not None and _describes(forms, geometry):
        scale = _MM.get(forms.units & _UNIT_MASK, 1.0)
        sizes = (*(size / scale for size in geometry.spacing), *forms.pixdim[geometry.dimensions :])
        usable = tuple(
            stated if math.isfinite(stated) and stated > 0 else size
            for stated, size in zip(forms.pixdim, sizes, strict=True)
        )
        return _header_with(replace(forms, pixdim=usable, version=2 if large else forms.version))
    axes, origin = np.eye(3), np.zeros(3)
    shape = (geometry.dimensions, geometry.dimensions)
    axes[: shape[0], : shape[0]] = np.reshape(geometry.direction, shape)
    origin[: shape[0]] = geometry.origin
    spacing = np.array([*geometry.spacing, 1.0][:3])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = TO_ITK @ axes * spacing, TO_ITK @ origin
    header: Any = (nibabel.Nifti2Header if large else nibabel.Nifti1Header)()
    if np.allclose(axes.T @ axes, np.eye(3), rtol=0, atol=_RIGHT_ANGLE):
        header.set_qform(affine, code=_SCANNER)
    header.set_sform(affine, code=_SCANNER)
    header["pixdim"][1:4] = spacing
    header.set_xyzt_units("mm")
    return header


def _describes(forms: NiftiForms, geometry: Geometry) -> bool:
    """Whether a grid is still the one that was read from these fields: a size of a voxel may have been mended."""
    place = placement(forms, geometry.dimensions)
    sizes = zip(place.spacing, geometry.spacing, strict=True)
    same_size = all(not (math.isfinite(stated) and stated) or abs(stated) == size for stated, size in sizes)
    return same_size and place.origin == geometry.origin and place.direction == geometry.direction


def _header_with(forms: NiftiForms) -> Any:
    """A header of nibabel's with these fields, and all others as they are in a new one."""
    header: Any = (nibabel.Nifti1Header if forms.version == 1 else nibabel.Nifti2Header)()
    header["pixdim"][:4] = [-1.0 if forms.qfac < 0 else 1.0, *_lengths(forms)]
    header["qform_code"], header["sform_code"] = forms.qform_code, forms.sform_code
    for name, value in zip(("quatern_b", "quatern_c", "quatern_d"), forms.quaternion, strict=True):
        header[name] = value
    for name, value in zip(("qoffset_x", "qoffset_y", "qoffset_z"), forms.offset, strict=True):
        header[name] = value
    for name, row in zip(("srow_x", "srow_y", "srow_z"), np.reshape(forms.sform, (3, 4)), strict=True):
        header[name] = row
    header["xyzt_units"] = forms.units
    return header


def _cut(place: Placement, dimensions: int) -> Placement:
    direction = np.reshape(place.direction, (3, 3))[:dimensions, :dimensions]
    return Placement(place.spacing[:dimensions], place.origin[:dimensions], _directions(direction))


def _directions(matrix: NDArray[np.float64]) -> tuple[float, ...]:
    """The matrix row by row; a 2-D image that stands upright in space, which has none in its plane, gets a new one."""
    if len(matrix) == 2 and abs(np.linalg.det(matrix)) < _FLAT:
        matrix = np.eye(2)
    return tuple(matrix.ravel().tolist())


def _of_affine(affine: NDArray[np.float64]) -> Placement:
    axes, origin = TO_ITK @ affine[:, :3], TO_ITK @ affine[:, 3]
    spacing = np.linalg.norm(axes, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        direction = axes / spacing
    return Placement(tuple(spacing.tolist()), tuple(origin.tolist()), tuple(direction.ravel().tolist()))


def _preferred_form(forms: NiftiForms) -> NDArray[np.float32] | None:
    """The form that ITK takes, (3, 4); None where it takes none, because only a skewed sform is there.

    Where both forms are there and differ by rounding alone, ITK takes either of them, by rounding as well.
    """
    sform = np.reshape(np.asarray(forms.sform, dtype=np.float32), (3, 4))
    if forms.sform_code > 0 and _at_right_angles(sform) and (forms.qform_code <= 0 or forms.sform_code == _SCANNER):
        return sform
    return _qform(forms) if forms.qform_code > 0 else None


def _at_right_angles(sform: NDArray[np.float32]) -> bool:
    axes = sform[:, :3]
    with np.errstate(invalid="ignore", divide="ignore"):
        units = axes / np.sqrt((axes * axes).sum(axis=0))
        return bool(np.abs(units @ units.T - np.eye(3)).max() <= _SKEW)


def _lengths(forms: NiftiForms) -> list[float]:
    """The sizes of a voxel as a scale of the qform: 1 for those that are none, as in NIfTI's own library."""
    return [size if math.isfinite(size) and size > 0 else 1.0 for size in forms.pixdim]


def _qform(forms: NiftiForms) -> NDArray[np.float32]:
    """The qform (3, 4): computed in double precision and rounded to single, as in NIfTI's own library."""
    b, c, d = forms.quaternion
    a = 1.0 - (b * b + c * c + d * d)
    if a < _SMALL_QUATERNION:
        inverse = 1.0 / math.sqrt(b * b + c * c + d * d)
        b, c, d, a = b * inverse, c * inverse, d * inverse, 0.0
    else:
        a = math.sqrt(a)
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2.0 * (b * c - a * d), 2.0 * (b * d + a * c)],
            [2.0 * (b * c + a * d), a * a + c * c - b * b - d * d, 2.0 * (c * d - a * b)],
            [2.0 * (b * d - a * c), 2.0 * (c * d + a * b), a * a + d * d - c * c - b * b],
        ]
    )
    scale = np.array(_lengths(forms))
    scale[2] *= -1.0 if forms.qfac < 0 else 1.0
    return np.column_stack([rotation * scale, forms.offset]).astype(np.float32)


def _unit(vector: list[float]) -> list[float]:
    """The vector divided by its length, summed in the order of its entries as ITK does; unchanged without a length."""
    total = 0.0
    for value in vector:
        total += value * value
    length = math.sqrt(total)
    return [value / length for value in vector] if length else vector
