"""The slices of DICOM series: whether they belong together, their order, and their values.

No text of a file gets into messages except the description of a series, its modality and the identifiers of formats.
"""

from __future__ import annotations

import filecmp
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.common.text import few
from umseg.dataset.io.formats.damage import check_compression
from umseg.dataset.io.formats.dicom.elements import PLAIN_SYNTAXES, file_meta, quiet
from umseg.dataset.io.formats.dicom.frames import LABEL_MAP, NO_IMAGE, Frame, printable, read_frames
from umseg.dataset.io.formats.dicom.pixels import Pixels
from umseg.dataset.io.formats.dicom.slices import arrange_slices
from umseg.dataset.io.grid import Geometry
from umseg.dataset.io.source import DamagedFileError, Notice, Source, unreadable
from umseg.dataset.listing import not_readable

_SHOWN = 6
_TYPES = {8: np.uint8, 16: np.uint16}
"""Types of labels, by the bits that a file has for each: they take less memory than the numbers of images."""


def holds_image(path: Path) -> bool:
    """Whether a DICOM file may be an image, by the class that its meta information states.

    Raises:
        UserError: The file cannot be read.
    """
    try:
        return not file_meta(path)[0].startswith(NO_IMAGE)
    except OSError as error:
        raise not_readable(path, error) from error


@dataclass(frozen=True)
class Series:
    """The slices of a series as one volume.

    Attributes:
        slices: In order along the normal of the slices.
        geometry: The grid of the volume.
        notices: What the user should know about the files.
    """

    slices: tuple[Frame, ...]
    geometry: Geometry
    notices: tuple[Notice, ...]


def open_series(path: Path, files: Sequence[Path], as_label: bool = False) -> Source:
    """As :func:`read_series`, for reading the pixels as well."""
    series = read_series(path, files, as_label)
    components = series.slices[0].components
    return Source(
        series.geometry,
        components,
        lambda: _read_slices(series.slices, series.geometry, components, as_label),
        series.notices,
    )


def read_series(path: Path, files: Sequence[Path], as_label: bool = False) -> Series:
    """Read the headers of a series.

    Args:
        path: The folder of slices, or a single file.
        files: Its DICOM files; reports and other objects among them are left out.
        as_label: Whether a segmentation whose pixels are labels counts as an image.

    Raises:
        UserError: A header is unreadable; there are several series, or slices that make no even, upright volume.
    """
    slices, copies = _without_copies([frame for file in files for frame in _frames_of(file, as_label)])
    if not slices:
        raise UserError(
            "The folder has no DICOM image.",
            file=path,
            found="DICOM files that are no images, e.g. reports",
            expected="the slices of one series",
            remedy="Name the folder that holds the slices.",
        )
    _check_one_series(path, slices)
    _check_alike(slices)
    order, geometry, notices = _arrange(path, slices)
    ordered = tuple(slices[index] for index in order)
    return Series(ordered, geometry, (*notices, *copies, *_notices(path, slices)))


def _frames_of(path: Path, as_label: bool) -> list[Frame]:
    try:
        with quiet():
            return read_frames(path, as_label)
    except (UserError, MemoryError):
        raise
    except Exception as error:  # whatever pydicom trips over
        raise _unreadable(path, error) from error


def _without_copies(slices: Sequence[Frame]) -> tuple[list[Frame], tuple[Notice, ...]]:
    """The slices without those of files that are there twice, byte for byte, and a notice of them."""
    firsts: dict[str, Path] = {}
    kept, copies = [], []
    for item in slices:
        first = firsts.setdefault(item.instance, item.path) if item.instance else item.path
        if first == item.path or not filecmp.cmp(first, item.path, shallow=False):
            kept.append(item)
        elif item.number == 0:
            copies.append(item.path)
    if not copies:
        return kept, ()
    notice = Notice(
        "A DICOM series has files twice: one of each is taken.",
        copies[0].parent,
        found=few(copy.name for copy in copies),
        expected="every slice once",
        remedy="Nothing need be done: the copies are equal in every byte.",
    )
    return kept, (notice,)


def _notices(path: Path, slices: Sequence[Frame]) -> tuple[Notice, ...]:
    """What is peculiar about the values and the pixels of a series."""
    notices = []
    if any(item.inverted for item in slices):
        notices.append(
            Notice(
                "A DICOM image is stored as a negative: its values are used as they are stored.",
                path,
                found="PhotometricInterpretation MONOCHROME1: small values are shown bright",
                expected="MONOCHROME2",
                remedy="Train and segment with images of one kind; dcm2niix and pydicom keep such values as well.",
            )
        )
    if any(item.lookup for item in slices):
        notices.append(
            Notice(
                "A DICOM image has a table of values, which is not applied.",
                path,
                found="a Modality LUT Sequence",
                expected="a slope and an intercept",
                remedy="Convert the series if the values of its table are needed; stored values are used.",
            )
        )
    if any(item.scale[0] == 0 for item in slices):
        notices.append(
            Notice(
                "A DICOM image has a slope of 0, which would make all values equal: 1 is used.",
                path,
                found="RescaleSlope 0",
                expected="another number",
                remedy="Correct the tag if values of another scale are meant.",
            )
        )
    if slices[0].placed and any(item.grid.unit is None for item in slices):
        notices.append(
            Notice(
                "A DICOM image does not state the size of its pixels: they are taken as squares of 1 mm.",
                path,
                found="no PixelSpacing",
                expected="PixelSpacing or ImagerPixelSpacing",
                remedy="Add the tag, or convert the series to .nii.gz with the right spacing.",
            )
        )
    return tuple(notices)


def _check_one_series(path: Path, slices: Sequence[Frame]) -> None:
    groups: dict[str, list[Frame]] = {}
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
    others = [f"{len(rows) - _SHOWN} more"] if len(rows) > _SHOWN else []
    raise UserError(
        "The folder has several DICOM series.",
        file=path,
        found=f"{len(rows)} series: " + "; ".join(rows[:_SHOWN] + others),
        expected="the slices of one series",
        remedy="Put the files of each series into a separate folder, and name the one to be used, or the folder of "
        "these folders.",
    )


def _check_alike(slices: Sequence[Frame]) -> None:
    first = slices[0]
    for item in slices:
        same = np.allclose(item.grid.spacing, first.grid.spacing, rtol=1e-3, atol=0, equal_nan=True)
        if item.grid.size != first.grid.size or item.components != first.components or not same:
            raise UserError(
                "The slices of a DICOM series differ in size.",
                file=item.path,
                found=_size_text(item),
                expected=f"{_size_text(first)}, as in {first.name}",
                remedy="Put images of another size into a separate folder.",
            )


def _arrange(path: Path, slices: Sequence[Frame]) -> tuple[list[int], Geometry, tuple[Notice, ...]]:
    first = slices[0]
    placed = all(item.placed for item in slices)
    if len(slices) > 1 and not placed:
        raise UserError(
            "The DICOM files do not say where their slices lie.",
            file=next(item.path for item in slices if not item.placed),
            found="no position or no orientation",
            expected="ImagePositionPatient and ImageOrientationPatient in every file of a series",
            remedy="Separate images (X-rays, photographs) each need a separate folder.",
        )
    if not placed:
        return [0], Geometry(first.grid.size, first.grid.spacing, (0.0, 0.0), (1.0, 0.0, 0.0, 1.0), first.grid.unit), ()
    x, y = first.grid.spacing
    columns, rows = first.grid.size
    order, geometry, notices = arrange_slices(
        path,
        [item.name for item in slices],
        (columns, rows),
        (x, y),
        np.array([item.grid.direction for item in slices]).reshape(-1, 2, 3),
        np.array([item.grid.origin for item in slices]),
    )
    if len(slices) == 1:
        thickness = first.thickness if first.thickness > 0 else max(x, y)
        geometry = replace(geometry, spacing=(x, y, thickness))
    return order, geometry, notices


def _read_slices(slices: Sequence[Frame], geometry: Geometry, components: int, as_label: bool = False) -> NDArray[Any]:
    """(components, z, y, x) with every slice's own rescale slope and intercept applied."""
    files = {item.path: item.pixel_bytes for item in slices}
    for path, num_bytes in files.items():
        check_compression(path, num_bytes)
    stored = _TYPES.get(slices[0].bits) if as_label and slices[0].kind == LABEL_MAP else None
    values = np.empty((components, *geometry.shape), dtype=stored or np.float32)
    pixels: Pixels | None = None
    for index, item in enumerate(slices):
        try:
            with quiet():
                if pixels is None or pixels.path != item.path:
                    pixels = Pixels(item.path, item.pixel_bytes, as_label)
                plane = pixels.frame(item.number)
        except (UserError, MemoryError):
            raise
        except Exception as error:  # whatever the libraries trip over
            raise _unreadable(item.path, error) from error
        if plane.size != values[:, index].size:
            raise DamagedFileError(
                f"{item.name} holds {plane.size} values, its header promises {values[:, index].size}"
            )
        plane = np.moveaxis(plane.reshape(*geometry.shape[1:], components), -1, 0)
        slope, intercept = item.scale[0] or 1.0, item.scale[1]
        values[:, index] = plane if (slope, intercept) == (1, 0) else plane * np.float64(slope) + intercept
    return values


def _unreadable(path: Path, error: Exception) -> UserError:
    if isinstance(error, OSError) and error.errno is not None:
        return not_readable(path, error)
    syntax = file_meta(path)[1]
    if isinstance(error, DamagedFileError) or not syntax or syntax in PLAIN_SYNTAXES:
        return unreadable(path, error)
    return UserError(
        "The pixels of a DICOM file are compressed in a way that cannot be read, or damaged.",
        file=path,
        found=f"transfer syntax {printable(syntax)}",
        expected="uncompressed pixels, or JPEG, JPEG-LS, JPEG 2000 or RLE",
        remedy="Decompress the series, e.g. with gdcmconv --raw or dcmdjpeg, or convert it with dcm2niix.",
    )


def _size_text(item: Frame) -> str:
    (columns, rows), (x, y) = item.grid.size, item.grid.spacing
    return f"{columns} x {rows} pixels of {x:g} x {y:g} mm, {item.components} components"
