"""DICOM: a folder that holds the slices of one series is one image.

Files of this format name the patient. Only the tags that the image needs are asked for, and no text of a file gets
into messages except the description of a series, its modality and the identifiers of formats.
"""

# SimpleITK's methods carry no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.dataset.io.channels import Notice
from umseg.dataset.io.grid import Geometry
from umseg.dataset.io.integrity import check_compression
from umseg.dataset.io.slices import arrange_slices
from umseg.dataset.io.source import DamagedFileError, Source, unreadable
from umseg.dataset.listing import is_folder, list_folder, not_readable

if TYPE_CHECKING:
    import SimpleITK as sitk

DICOM_ENDING = ".dcm"
LABEL_ENDING = ".nii.gz"
"""DICOM images get NIfTI label maps: umseg writes no DICOM."""

_PREAMBLE, _MAGIC, _META_LIMIT = 128, b"DICM", 4096
_SOP_CLASS, _SYNTAX = 0x0002, 0x0010
_LONG_VALUES = (b"OB", b"OW", b"OF", b"SQ", b"UT", b"UN")
# Storage classes (PS3.4 B.5) that are no images: reports, presentation states, raw data and registrations, radiotherapy
# structures and plans, documents.
_NO_IMAGE = tuple(f"1.2.840.10008.5.1.4.1.1.{part}" for part in ("88.", "11.", "66", "481.3", "481.5", "481.8", "104."))
# Uncompressed: implicit and explicit little endian, deflated, explicit big endian.
_PLAIN_SYNTAXES = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")
_INDEX = "DICOMDIR"
_SHOWN = 6

_SERIES, _DESCRIPTION, _MODALITY, _FRAMES = "0020|000e", "0008|103e", "0008|0060", "0028|0008"
_POSITION, _ORIENTATION, _THICKNESS = "0020|0032", "0020|0037", "0018|0050"


@dataclass(frozen=True)
class _Slice:
    """The header of a file."""

    path: Path
    series: str
    label: str
    grid: Geometry
    components: int
    frames: int
    placed: bool
    thickness: float


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM, by its name or by its first bytes: many archives leave out the ending.

    Raises:
        UserError: The file cannot be read.
    """
    if path.name == _INDEX:
        return False
    return path.suffix.lower() == DICOM_ENDING or _head(path).startswith(_MAGIC)


def is_dicom_image(path: Path) -> bool:
    """Whether a path is a DICOM image: a folder of slices, or one of them."""
    return is_series(path) if is_folder(path) else path.is_file() and is_dicom(path)


def label_ending(file_ending: str) -> str:
    """Ending of the label maps of images with this ending."""
    return LABEL_ENDING if file_ending.lower() == DICOM_ENDING else file_ending


def is_series(folder: Path) -> bool:
    """Whether there is a folder that holds DICOM files."""
    return is_folder(folder) and any(map(is_dicom, list_folder(folder)[0]))


def series_folders(folder: Path) -> list[Path]:
    """The folders in a folder that hold DICOM files, sorted."""
    return [path for path in list_folder(folder)[1] if is_series(path)]


def series_files(folder: Path) -> list[Path]:
    """The image files of a series, sorted by name: reports and other objects beside them are left out."""
    found = filter(is_dicom, list_folder(folder)[0])
    return [path for path in found if not _file_meta(path).get(_SOP_CLASS, "").startswith(_NO_IMAGE)]


def open_series(path: Path) -> Source:
    """Read the headers of a series: a folder of slices, or a single file.

    Raises:
        UserError: A header is unreadable; there are several series, or slices that make no even, upright volume.
    """
    files = series_files(path) if is_folder(path) else [path]
    if not files:
        raise UserError(
            "The folder has no DICOM image.",
            file=path,
            found="DICOM files that are no images, e.g. reports",
            expected="the slices of one series",
            remedy="Name the folder that holds the slices.",
        )
    slices = [_read_header(file) for file in files]
    _check_one_series(path, slices)
    _check_alike(path, slices)
    order, geometry, notices = _arrange(path, slices)
    ordered = [slices[index].path for index in order]
    components = slices[0].components
    return Source(geometry, components, lambda: _read_slices(ordered, geometry, components), notices)


def _read_header(path: Path) -> _Slice:
    reader = _reader(path)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _unreadable(path, error) from error

    def text(tag: str) -> str:
        return str(reader.GetMetaData(tag)).strip() if reader.HasMetaDataKey(tag) else ""

    size, spacing, direction = reader.GetSize(), reader.GetSpacing(), np.reshape(reader.GetDirection(), (3, 3))
    described = _printable(text(_DESCRIPTION)) or "no description"
    return _Slice(
        path,
        series=text(_SERIES),
        label=f"'{described}' ({_printable(text(_MODALITY))})",
        grid=Geometry(size[:2], spacing[:2], reader.GetOrigin(), tuple(map(float, direction[:, :2].T.ravel()))),
        components=int(reader.GetNumberOfComponents()),
        frames=max(size[2] if len(size) > 2 else 1, int(_number(text(_FRAMES), 1))),
        placed=bool(text(_POSITION) and text(_ORIENTATION)),
        thickness=_number(text(_THICKNESS), 0),
    )


def _check_one_series(path: Path, slices: Sequence[_Slice]) -> None:
    groups: dict[str, list[_Slice]] = {}
    for item in slices:
        groups.setdefault(item.series, []).append(item)
    if len(groups) == 1:
        return
    largest_first = sorted(groups.values(), key=len, reverse=True)
    rows = [
        f"{group[0].label}: {len(group)} {'slice' if len(group) == 1 else 'slices'} ({group[0].path.name}"
        + (", ...)" if len(group) > 1 else ")")
        for group in largest_first
    ]
    more = [f"{len(rows) - _SHOWN} more"] if len(rows) > _SHOWN else []
    raise UserError(
        "The folder has several DICOM series.",
        file=path,
        found=f"{len(rows)} series: " + "; ".join(rows[:_SHOWN] + more),
        expected="the slices of one series",
        remedy="Put the files of each series into a folder of its own, and name the one to be used, or the folder of "
        "these folders.",
    )


def _check_alike(path: Path, slices: Sequence[_Slice]) -> None:
    first = slices[0]
    several = next((item for item in slices if item.frames > 1), None)
    if several is not None:
        raise UserError(
            "The DICOM file holds several frames.",
            file=several.path,
            found=f"{several.frames} frames",
            expected="one slice per file",
            remedy="Convert it with dcm2niix, which knows whether the frames are slices or time points, and use its "
            ".nii.gz.",
        )
    for item in slices:
        same = np.allclose(item.grid.spacing, first.grid.spacing, rtol=1e-3, atol=0)
        if item.grid.size != first.grid.size or item.components != first.components or not same:
            raise UserError(
                "The slices of a DICOM series differ in size.",
                file=item.path,
                found=_size_text(item),
                expected=f"{_size_text(first)}, as in {first.path.name}",
                remedy="Put images of another size into a folder of their own.",
            )


def _arrange(path: Path, slices: Sequence[_Slice]) -> tuple[list[int], Geometry, tuple[Notice, ...]]:
    first = slices[0]
    placed = all(item.placed for item in slices)
    if len(slices) > 1 and not placed:
        raise UserError(
            "The DICOM files do not say where their slices lie.",
            file=next(item.path for item in slices if not item.placed),
            found="no position or no orientation",
            expected="ImagePositionPatient and ImageOrientationPatient in every file of a series",
            remedy="Separate images (X-rays, photographs) each need a folder of their own.",
        )
    if not placed:
        return [0], Geometry(first.grid.size, first.grid.spacing, (0.0, 0.0), (1.0, 0.0, 0.0, 1.0)), ()
    x, y = first.grid.spacing
    columns, rows = first.grid.size
    order, geometry, notices = arrange_slices(
        path,
        [item.path.name for item in slices],
        (columns, rows),
        (x, y),
        np.array([item.grid.direction for item in slices]).reshape(-1, 2, 3),
        np.array([item.grid.origin for item in slices]),
    )
    if len(slices) == 1:
        thickness = first.thickness if first.thickness > 0 else max(x, y)
        geometry = Geometry(geometry.size, (x, y, thickness), geometry.origin, geometry.direction)
    return order, geometry, notices


def _read_slices(paths: Sequence[Path], geometry: Geometry, components: int) -> NDArray[Any]:
    """(components, z, y, x) with every slice's own rescale slope and intercept applied, as GDCM does."""
    for path in paths:
        check_compression(path, math.prod(geometry.size[:2]) * components)
    from umseg.dataset.io.lazy_sitk import sitk

    values = np.empty((components, *geometry.shape), dtype=np.float32)
    for index, path in enumerate(paths):
        try:
            plane = sitk.GetArrayFromImage(_reader(path).Execute())
        except RuntimeError as error:
            raise _unreadable(path, error) from error
        plane = plane if components > 1 else plane[..., None]
        if plane.size != values[:, index].size:
            raise DamagedFileError(f"{path.name} holds {plane.size} values, its header promises another number")
        values[:, index] = np.moveaxis(plane.reshape(*geometry.shape[1:], components), -1, 0)
    return values


def _reader(path: Path) -> sitk.ImageFileReader:
    from umseg.dataset.io.lazy_sitk import sitk

    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    return reader


def _unreadable(path: Path, error: RuntimeError) -> UserError:
    syntax = _file_meta(path).get(_SYNTAX)
    if syntax is None or syntax in _PLAIN_SYNTAXES:
        return unreadable(path, error)
    return UserError(
        "The pixels of a DICOM file are compressed in a way that cannot be read, or damaged.",
        file=path,
        found=f"transfer syntax {_printable(syntax)}",
        expected="uncompressed pixels, or JPEG, JPEG-LS, JPEG 2000 or RLE",
        remedy="Decompress the series, e.g. with gdcmconv --raw or dcmdjpeg, or convert it with dcm2niix.",
    )


def _head(path: Path) -> bytes:
    """What follows the preamble of a file."""
    try:
        with open(path, "rb") as handle:
            return handle.read(_PREAMBLE + _META_LIMIT)[_PREAMBLE:]
    except OSError as error:
        raise not_readable(path, error) from error


def _file_meta(path: Path) -> dict[int, str]:
    """The unique identifiers in the file meta information (PS3.10 7.1): element number in group 2 to value.

    It is always written in explicit little endian, before the data set, and says nothing of the patient.
    """
    head = _head(path)
    found: dict[int, str] = {}
    if not head.startswith(_MAGIC):
        return found
    at = len(_MAGIC)
    while at + 12 <= len(head) and head[at : at + 2] == b"\x02\x00":
        element, kind = int.from_bytes(head[at + 2 : at + 4], "little"), head[at + 4 : at + 6]
        wide = kind in _LONG_VALUES
        start = at + (12 if wide else 8)
        length = int.from_bytes(head[start - (4 if wide else 2) : start], "little")
        if kind == b"UI":
            found[element] = head[start : start + length].decode("ascii", "replace").strip("\0 ")
        at = start + length
    return found


def _size_text(item: _Slice) -> str:
    (columns, rows), (x, y) = item.grid.size, item.grid.spacing
    return f"{columns} x {rows} pixels of {x:g} x {y:g} mm, {item.components} per pixel"


def _printable(text: str) -> str:
    return "".join(letter for letter in text if letter.isprintable())[:64]


def _number(text: str, default: float) -> float:
    try:
        value = float(text)
    except ValueError:
        return default
    return value if np.isfinite(value) else default
