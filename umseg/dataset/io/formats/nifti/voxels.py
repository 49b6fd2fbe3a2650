"""The voxels of NIfTI files, and label maps. Imports nibabel."""

# nibabel's methods carry no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from umseg.dataset.io.formats.byte_stream import ByteStream
from umseg.dataset.io.formats.damage import CHECK_REMEDY, expect_bytes, trailing_notices
from umseg.dataset.io.formats.nifti.header import Header, read_header
from umseg.dataset.io.formats.nifti.placement import label_header, sform_lengths
from umseg.dataset.io.grid import SPACING_TOLERANCE, Geometry
from umseg.dataset.io.source import DamagedFileError, Notice, Source

# Deflate makes no file smaller than this part of its content.
_BEST_DEFLATE = 1040
# Bytes behind the voxels that are still read, to reach the checksum of a gzip file.
_MOST_BEHIND = 1 << 20
_CHUNK = 1 << 20
_LONGEST_AXIS = np.iinfo(np.int16).max
_LEVEL = 6
# Cosine of the angle between axes; ITK refuses files beyond this.
_SKEW = 1e-4


def open_nifti(path: Path) -> Source:
    """Read a file's header.

    Raises:
        UserError: The voxels lie in another file, or are no real numbers.
        DamagedFileError: The file is no NIfTI file, or cannot hold what its header promises.
        OSError: The file cannot be read.
    """
    header = read_header(path)
    notices = [
        *_name_notice(path, header.packed),
        *_length_notice(path, header.geometry),
        *_shear_notice(path, header.geometry),
    ]
    late: list[Notice] = []

    def read() -> NDArray[Any]:
        values, found = _read(path, header)
        late[:] = found
        return values

    return Source(
        header.geometry, header.components, read, tuple(notices), lambda: tuple(late), partial(_holds, path, header)
    )


def check_file(path: Path) -> Header:
    """Verify the length of a file and the checksums of a compressed one, in little memory; return its header.

    Raises:
        UserError: The voxels lie in another file, or are no real numbers.
        DamagedFileError: Data are missing, a checksum is wrong, or the file is no NIfTI file.
        OSError: The file cannot be read.
    """
    header = read_header(path)
    with ByteStream(path) as stream:
        expect_bytes(stream.seek(header.bytes) if header.packed else path.stat().st_size, header.bytes)
        stream.finish(_MOST_BEHIND if header.packed else 0)
    return header


def read_stored(path: Path, header: Header) -> NDArray[Any]:
    """The stored numbers, (x, y, z[, components]) with the first axis running fastest, in this machine's byte order.

    Raises:
        DamagedFileError: There are fewer than the header promises, or a checksum is wrong.
        OSError: The file cannot be read.
    """
    return _read_to_the_end(path, header, _numbers)[0]


def nifti_image(values: NDArray[Any], header: Any) -> Any:
    """An image of nibabel's, whose forms, codes and sizes of a voxel are those of the header, field by field."""
    kind = nibabel.Nifti2Image if isinstance(header, nibabel.Nifti2Header) else nibabel.Nifti1Image
    header = header.copy()
    sizes = header["pixdim"][:4].copy()
    header.set_data_shape(values.shape)
    header["pixdim"][:4] = sizes
    codes = {name: int(header[name]) for name in ("qform_code", "sform_code")}
    header["qform_code"] = header["sform_code"] = 0
    # With an affine of its own, the image would make new forms from that.
    image = kind(values, None, header, dtype=values.dtype)
    for name, code in codes.items():
        # nibabel would replace the codes that it does not know.
        image.header[name] = code
    return image


def _read_to_the_end(
    path: Path, header: Header, numbers: Callable[[ByteStream, Header], NDArray[Any]]
) -> tuple[NDArray[Any], list[Notice]]:
    """The numbers that a function reads from where they begin, and what was noticed behind them.

    Raises:
        DamagedFileError, OSError: As in :func:`read_stored`.
    """
    size = path.stat().st_size
    _expect_room(size, header)
    shape = (header.components, *header.geometry.size) if header.interleaved else header.geometry.size
    if header.components > 1 and not header.interleaved:
        shape = (*shape, header.components)
    with ByteStream(path) as stream:
        stream.seek(header.offset)
        values = numbers(stream, header).reshape(shape, order="F")
        expect_bytes(stream.position, header.bytes)
        at_end = stream.finish(_MOST_BEHIND) if header.packed else size <= header.bytes + _MOST_BEHIND
        notices = _end_notice(path, stream.trailing, at_end)
    return (np.moveaxis(values, 0, -1) if header.interleaved else values), notices


def _numbers(stream: ByteStream, header: Header) -> NDArray[Any]:
    """The stored numbers as they follow each other; those that the file lacks are not filled."""
    numbers: NDArray[Any] = np.empty(header.numbers, header.dtype)
    stream.readinto(numbers.view(np.uint8).data)
    if numbers.dtype.isnative:
        return numbers
    native: NDArray[Any] = numbers.byteswap(inplace=True).view(numbers.dtype.newbyteorder("="))
    return native


def _scaled_numbers(stream: ByteStream, header: Header) -> NDArray[Any]:
    """``stored * slope + inter``, computed in double precision; float32 where that holds the stored numbers.

    Stored numbers are read a few at a time, so that they are never held beside the scaled ones.
    """
    if (header.slope, header.inter) == (1.0, 0.0):
        return _numbers(stream, header)
    dtype = header.dtype
    small = dtype.itemsize <= (4 if dtype.kind == "f" else 2)
    scaled: NDArray[Any] = np.empty(header.numbers, np.float32 if small else np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, header.numbers, _CHUNK):
            target = scaled[start : start + _CHUNK]
            stored = np.empty(len(target), dtype)
            stream.readinto(stored.view(np.uint8).data)
            target[...] = stored.astype(np.float64) * header.slope + header.inter
    return scaled


def write_label(path: Path, values: NDArray[np.unsignedinteger[Any]], geometry: Geometry) -> None:
    """Write (z, y, x) with the fields of the header that the grid was read from, or else with both forms."""
    data = values[0].T if geometry.dimensions == 2 else values.T
    header = label_header(geometry, max(data.shape) > _LONGEST_AXIS)
    header.set_data_dtype(values.dtype)
    image = nifti_image(data, header)
    with path.open("wb") as file:
        if path.name.lower().endswith(".gz"):
            # No name and no time stamp: the same label map gives the same file.
            with gzip.GzipFile("", "wb", _LEVEL, file, mtime=0) as packed:
                image.to_stream(packed)
        else:
            image.to_stream(file)


def _read(path: Path, header: Header) -> tuple[NDArray[Any], list[Notice]]:
    """(components, z, y, x), and what was noticed at the end of the file."""
    numbers, notices = _read_to_the_end(path, header, _scaled_numbers)
    return numbers.T.reshape((header.components, *header.geometry.shape)), notices


def _holds(path: Path, header: Header, values: NDArray[Any]) -> bool:
    """Whether the file stores just these values, (z, y, x), as they are.

    Raises:
        DamagedFileError, OSError: As in :func:`read_stored`.
    """
    if header.dtype != values.dtype or (header.slope, header.inter) != (1.0, 0.0):
        return False
    same = True
    with ByteStream(path) as stream:
        stream.seek(header.offset)
        for plane in values:
            stored = np.empty(plane.shape, header.dtype)
            expect_bytes(stream.readinto(stored.data.cast("B")), stored.nbytes)
            same &= np.array_equal(stored, plane)
        stream.finish(_MOST_BEHIND)
    return same


def _expect_room(size: int, header: Header) -> None:
    """Require that a file of this size can hold the voxels, before memory is asked for them."""
    if not header.packed:
        expect_bytes(size, header.bytes)
    elif header.bytes > size * _BEST_DEFLATE:
        raise DamagedFileError(
            f"the file holds {size} compressed bytes, its header promises {header.bytes}, more than fit into them"
        )


def _end_notice(path: Path, trailing: int, at_end: bool) -> list[Notice]:
    if trailing:
        return trailing_notices(path, trailing)
    if not at_end:
        return [
            Notice(
                "A file goes on behind its voxels: the rest is not read.",
                path,
                found=f"more than {_MOST_BEHIND} further bytes",
                expected="as many voxels as the header states",
                remedy=CHECK_REMEDY,
            )
        ]
    return []


def _name_notice(path: Path, packed: bool) -> list[Notice]:
    if packed == path.name.lower().endswith(".gz"):
        return []
    found, ending = ("a gzip file", ".nii.gz") if packed else ("a file that is not compressed", ".nii")
    return [
        Notice(
            "A NIfTI file has the ending of another kind: it is read as what it is.",
            path,
            found=found,
            expected=f"the ending {ending}",
            remedy=f"Rename the file to {ending}, because other programs may not read it.",
        )
    ]


def _length_notice(path: Path, geometry: Geometry) -> list[Notice]:
    """A notice for two different sizes of a voxel in one header."""
    forms, axes = geometry.nifti, geometry.dimensions
    if forms is None or forms.sform_code <= 0:
        return []
    stated, lengths = np.abs(forms.pixdim[:axes]), sform_lengths(forms)[:axes]
    usable = np.isfinite(stated) & (stated > 0)
    if np.allclose(np.where(usable, stated, lengths), lengths, rtol=SPACING_TOLERANCE, atol=0):
        return []
    return [
        Notice(
            "The header of a NIfTI file states two sizes of a voxel: that of pixdim and that of the sform.",
            path,
            found=f"pixdim {_sizes(forms.pixdim[:axes])}, sform {_sizes(lengths)}",
            expected="the same sizes",
            remedy=f"{_sizes(geometry.spacing)} mm is taken. Correct the header if that is not the size of a voxel.",
        )
    ]


def _sizes(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _shear_notice(path: Path, geometry: Geometry) -> list[Notice]:
    if geometry.dimensions != 3 or not np.isfinite(geometry.direction).all():
        return []
    directions = np.reshape(geometry.direction, (3, 3))
    cosines = directions.T @ directions
    if np.abs(cosines - np.eye(3)).max() <= _SKEW:
        return []
    angles = np.degrees(np.arccos(np.clip(cosines[np.triu_indices(3, 1)], -1, 1)))
    return [
        Notice(
            "The axes of an image are not at right angles.",
            path,
            found="angles of " + ", ".join(f"{angle:.2f}" for angle in angles) + " degrees",
            expected="90 degrees",
            remedy="Voxels are taken as if the axes were, with the lengths of the axes as spacing; label maps get the "
            "image's own axes. Resample the image if the angles are far from 90 degrees.",
        )
    ]
