"""The header of a NIfTI file: what its voxels are and where they lie. Imports nibabel."""

# nibabel's methods carry no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import nibabel
import numpy as np

from umseg.common.errors import UserError
from umseg.dataset.io.formats.byte_stream import ByteStream
from umseg.dataset.io.formats.itk import complex_values
from umseg.dataset.io.formats.nifti.placement import placement
from umseg.dataset.io.grid import Geometry, NiftiForms
from umseg.dataset.io.source import DamagedFileError

_SIZES: dict[Literal[1, 2], int] = {1: 348, 2: 540}
_FIRST_VOXEL: dict[Literal[1, 2], int] = {1: 352, 2: 544}
# Extensions, e.g. DICOM headers, lie between header and voxels. All of them together are a few megabytes at most.
_LARGEST_OFFSET = 1 << 28
_MOST_DIMENSIONS = 7
# Symmetric matrices, displacements and other vectors: their numbers lie along the fifth axis.
_VECTORS = (1005, 1006, 1007)
_COLOURS = {128: 3, 2304: 4}


@dataclass(frozen=True)
class Header:
    """What is needed to read the voxels of a file.

    Attributes:
        fields: The header, as nibabel has it.
        packed: Whether the file is gzip.
        geometry: The grid, as the header states it.
        components: Numbers per voxel.
        dtype: Type of a stored number, in the byte order of the file.
        offset: Where the voxels begin in the (decompressed) file.
        slope, inter: What the stored numbers are multiplied with, and what is then added; (1, 0) leaves them.
        interleaved: Whether the components of a voxel follow each other; else each is a volume by itself.
    """

    fields: Any
    packed: bool
    geometry: Geometry
    components: int
    dtype: np.dtype[Any]
    offset: int
    slope: float
    inter: float
    interleaved: bool

    @property
    def numbers(self) -> int:
        """How many numbers the file stores."""
        return math.prod(self.geometry.size) * self.components

    @property
    def bytes(self) -> int:
        """Length of the decompressed file up to the end of its voxels."""
        return self.offset + self.numbers * self.dtype.itemsize


def read_header(path: Path) -> Header:
    """Read the header of a file.

    Trailing axes of one voxel are left out: a 4-D file of a single volume is a 3-D image. Extensions of the header are
    not read.

    Raises:
        UserError: The voxels lie in another file, or are no real numbers.
        DamagedFileError: The file is no NIfTI file, or its header contradicts itself.
        OSError: The file cannot be read.
    """
    with ByteStream(path) as stream:
        content, packed = stream.read(_SIZES[2]), stream.packed
    version = _version(path, content)
    fields: Any = (nibabel.Nifti1Header if version == 1 else nibabel.Nifti2Header)(
        content[: _SIZES[version]], check=False
    )
    size, components = _extent(fields)
    dtype, colours = _number(path, fields)
    slope, inter = _scaling(fields) if colours == 1 else (1.0, 0.0)
    forms = _forms(fields, version)
    _check_forms(path, forms)
    return Header(
        fields,
        packed,
        _geometry(forms, size),
        components * colours,
        dtype,
        _offset(fields, version),
        slope,
        inter,
        interleaved=colours > 1,
    )


def grid_of_fields(fields: Any) -> Geometry:
    """The grid of a header of nibabel's, as of a file that has this header.

    Raises:
        DamagedFileError: The header contradicts itself.
    """
    size, _ = _extent(fields)
    return _geometry(_forms(fields, 2 if isinstance(fields, nibabel.Nifti2Header) else 1), size)


def _version(path: Path, content: bytes) -> Literal[1, 2]:
    is_second = _SIZES[2].to_bytes(4, "little") in (content[:4], content[3::-1])
    version: Literal[1, 2] = 2 if is_second else 1
    magic = content[4:7] if is_second else content[344:347]
    if magic in (b"ni1", b"ni2"):
        raise UserError(
            "An image has its voxels in another file.",
            file=path,
            found="the header of a NIfTI pair (.hdr and .img)",
            expected="header and voxels in one file",
            remedy="Convert the pair to .nii.gz, e.g. with 3D Slicer or nibabel.",
        )
    if magic != (b"n+2" if is_second else b"n+1") or len(content) < _SIZES[version]:
        raise DamagedFileError("the file does not begin as a NIfTI file does")
    return version


def _extent(fields: Any) -> tuple[tuple[int, ...], int]:
    """Voxels along each axis, and numbers per voxel."""
    stated = [int(size) for size in fields["dim"]]
    if not 0 <= stated[0] <= _MOST_DIMENSIONS or min(stated[1 : stated[0] + 1], default=0) < 0:
        raise DamagedFileError(f"the header states impossible sizes: {stated}")
    size = stated[1 : stated[0] + 1]
    # Sloppy writers leave sizes behind the third axis at zero.
    size[3:] = [max(1, length) for length in size[3:]]
    intent = int(fields["intent_code"])
    components = 1
    if intent in _VECTORS and len(size) > 4:
        components, size[4] = size[4], 1
        # A vector image says by its intent that axes of one voxel are none.
        while len(size) > 2 and size[-1] == 1:
            size.pop()
    while len(size) > 3 and size[-1] == 1:
        size.pop()
    return tuple(size), components


def _number(path: Path, fields: Any) -> tuple[np.dtype[Any], int]:
    """Type of a stored number, and how many of them are a colour."""
    code = int(fields["datatype"])
    name = str(fields.get_value_label("datatype"))
    if code in _COLOURS:
        return np.dtype(np.uint8), _COLOURS[code]
    if name.startswith("complex"):
        raise complex_values(path, f"data type {name}")
    dtype: np.dtype[Any] | None = None if name.startswith("<unknown") else fields.get_data_dtype()
    if dtype is None or dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise UserError(
            "The numbers of an image are of a type that cannot be read.",
            file=path,
            found=f"data type {code} ({name})",
            expected="whole numbers of 8 to 64 bits, floating-point numbers of 32 or 64 bits, or RGB colours",
            remedy="Save the image with another data type, e.g. float32, with nibabel.",
        )
    return dtype, 1


def _offset(fields: Any, version: Literal[1, 2]) -> int:
    stated = float(fields["vox_offset"])
    if stated == 0:
        return _FIRST_VOXEL[version]
    if not _FIRST_VOXEL[version] <= stated <= _LARGEST_OFFSET:
        raise DamagedFileError(f"the header states an impossible place of the voxels: vox_offset {stated:g}")
    return int(stated)


def _scaling(fields: Any) -> tuple[float, float]:
    try:
        slope, inter = fields.get_slope_inter()
    except nibabel.spatialimages.HeaderDataError as error:
        raise DamagedFileError(str(error)) from error
    return (1.0, 0.0) if slope is None else (slope, inter)


def _forms(fields: Any, version: Literal[1, 2]) -> NiftiForms:
    def numbers(*names: str) -> tuple[float, ...]:
        return tuple(float(value) for name in names for value in np.atleast_1d(fields[name]))

    qfac, *sizes = numbers("pixdim")[:4]
    return NiftiForms(
        version=version,
        qform_code=int(fields["qform_code"]),
        sform_code=int(fields["sform_code"]),
        quaternion=numbers("quatern_b", "quatern_c", "quatern_d"),
        offset=numbers("qoffset_x", "qoffset_y", "qoffset_z"),
        sform=numbers("srow_x", "srow_y", "srow_z"),
        qfac=qfac,
        pixdim=tuple(sizes),
        units=int(fields["xyzt_units"]),
    )


def _check_forms(path: Path, forms: NiftiForms) -> None:
    """Refuse forms that are not finite: a label map would get them, too."""
    stated = {
        "qform": (forms.qform_code, (*forms.quaternion, *forms.offset)),
        "sform": (forms.sform_code, forms.sform),
    }
    for name, (code, values) in stated.items():
        if code > 0 and not np.isfinite(values).all():
            raise UserError(
                f"The {name} of a NIfTI header has values that are no numbers.",
                file=path,
                found=", ".join(f"{value:g}" for value in values),
                expected="finite values, or 0 as the code of a form that is not used",
                remedy=f"Write the {name} again, e.g. with nibabel, or take the case out of the data set.",
            )


def _geometry(forms: NiftiForms, size: tuple[int, ...]) -> Geometry:
    if not 2 <= len(size) <= 3:
        # No image, which is refused by its number of axes.
        axes = len(size)
        return Geometry(size, (1.0,) * axes, (0.0,) * axes, tuple(np.eye(axes).ravel().tolist()))
    try:
        place = placement(forms, len(size))
    except (nibabel.spatialimages.HeaderDataError, ValueError) as error:
        raise DamagedFileError(str(error)) from error
    return Geometry(size, place.spacing, place.origin, place.direction, nifti=forms)
