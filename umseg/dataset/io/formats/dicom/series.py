"""The slices of DICOM series: headers through pydicom, pixels through GDCM. Imports pydicom.

Files of this format name the patient. Only the tags that the image needs are read, and no text of a file gets into
messages except the description of a series, its modality and the identifiers of formats.
"""

# SimpleITK's methods carry no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.filereader import read_dataset, read_preamble
from pydicom.tag import BaseTag, Tag

from umseg.common.errors import UserError
from umseg.dataset.io.formats.damage import check_compression
from umseg.dataset.io.formats.dicom.slices import arrange_slices
from umseg.dataset.io.grid import Geometry
from umseg.dataset.io.source import DamagedFileError, Notice, Source, unreadable
from umseg.dataset.listing import not_readable

if TYPE_CHECKING:
    import SimpleITK as sitk

# Storage classes (PS3.4 B.5) that are no images: reports, presentation states, raw data and registrations, radiotherapy
# structures and plans, documents.
_NO_IMAGE = tuple(f"1.2.840.10008.5.1.4.1.1.{part}" for part in ("88.", "11.", "66", "481.3", "481.5", "481.8", "104."))
# Uncompressed transfer syntaxes; the name of the first begins those of all others in the standard.
_IMPLICIT, _EXPLICIT, _DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_PLAIN_SYNTAXES = (_IMPLICIT, _EXPLICIT, _DEFLATED, _BIG_ENDIAN)
_SHOWN = 6
# Headers are far smaller; a deflated file may be of any size.
_MOST_INFLATED = 1 << 24

_SERIES, _DESCRIPTION, _MODALITY = Tag("SeriesInstanceUID"), Tag("SeriesDescription"), Tag("Modality")
_ROWS, _COLUMNS, _COMPONENTS = Tag("Rows"), Tag("Columns"), Tag("SamplesPerPixel")
_COLOURS = Tag("PhotometricInterpretation")
_FRAMES, _THICKNESS = Tag("NumberOfFrames"), Tag("SliceThickness")
_POSITION, _ORIENTATION = Tag("ImagePositionPatient"), Tag("ImageOrientationPatient")
_SPACING, _SPACING_OF_DETECTOR = Tag("PixelSpacing"), Tag("ImagerPixelSpacing")
_TAGS: list[BaseTag] = [
    *(_SERIES, _DESCRIPTION, _MODALITY, _ROWS, _COLUMNS, _COMPONENTS, _COLOURS, _FRAMES, _THICKNESS),
    *(_POSITION, _ORIENTATION, _SPACING, _SPACING_OF_DETECTOR),
]
_SOP_CLASS, _SYNTAX, _PIXELS = Tag("MediaStorageSOPClassUID"), Tag("TransferSyntaxUID"), Tag("PixelData")
_META_GROUP = 2


@dataclass(frozen=True)
class _Slice:
    """The header of a file.

    Attributes:
        path: The file.
        series: Identifier of its series.
        label: Description of its series, for messages.
        grid: Size and spacing of the pixels (x, y), the position of the first pixel, and the directions of x and y.
        components: Numbers per pixel.
        frames: Number of images in the file.
        placed: Whether the file states position and orientation.
        thickness: Thickness of the slice in mm; 0 where the file does not state it.
    """

    path: Path
    series: str
    label: str
    grid: Geometry
    components: int
    frames: int
    placed: bool
    thickness: float


def holds_image(path: Path) -> bool:
    """Whether a DICOM file may be an image, by the class that its meta information states.

    Raises:
        UserError: The file cannot be read.
    """
    return not _file_meta(path)[0].startswith(_NO_IMAGE)


def open_series(path: Path, files: Sequence[Path]) -> Source:
    """Read the headers of a series.

    Args:
        path: The folder of slices, or a single file.
        files: Its DICOM files; reports and other objects among them are left out.

    Raises:
        UserError: A header is unreadable; there are several series, or slices that make no even, upright volume.
    """
    slices = [found for file in files if (found := _read_header(file)) is not None]
    if not slices:
        raise UserError(
            "The folder has no DICOM image.",
            file=path,
            found="DICOM files that are no images, e.g. reports",
            expected="the slices of one series",
            remedy="Name the folder that holds the slices.",
        )
    _check_one_series(path, slices)
    _check_alike(path, slices)
    order, geometry, notices = _arrange(path, slices)
    ordered = [slices[index].path for index in order]
    components = slices[0].components
    return Source(geometry, components, lambda: _read_slices(ordered, geometry, components), notices)


def _read_header(path: Path) -> _Slice | None:
    """The header of a file; None for a file that is no image."""
    try:
        meta, found = _read_tags(path)
        if _text(meta, _SOP_CLASS).startswith(_NO_IMAGE):
            return None
        size = (_integer(found, _COLUMNS), _integer(found, _ROWS))
        if not all(size):
            raise DamagedFileError("the file does not say how many rows and columns it has")
        place, axes = _numbers(found, _POSITION, 3), _axes(_numbers(found, _ORIENTATION, 6))
        stated = (_numbers(found, tag, 2) for tag in (_SPACING, _SPACING_OF_DETECTOR))
        # GDCM takes zeros for no spacing as well.
        spacing = next((values for values in stated if values is not None and all(values)), (1.0, 1.0))
        description = _printable(_text(found, _DESCRIPTION)) or "no description"
        thickness = _numbers(found, _THICKNESS, 1)
        return _Slice(
            path,
            series=_text(found, _SERIES),
            label=f"'{description}' ({_printable(_text(found, _MODALITY))})",
            grid=Geometry(
                size, (spacing[1], spacing[0]), place or (0.0, 0.0, 0.0), axes or (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
            ),
            # GDCM replaces the indices of a palette by its colours.
            components=3 if _text(found, _COLOURS).startswith("PALETTE") else _integer(found, _COMPONENTS) or 1,
            frames=int((_numbers(found, _FRAMES, 1) or (1,))[0]),
            placed=place is not None and axes is not None,
            thickness=thickness[0] if thickness else 0.0,
        )
    except (UserError, MemoryError):
        raise
    except OSError as error:
        raise not_readable(path, error) from error
    except Exception as error:  # whatever pydicom trips over
        raise _unreadable(path, error) from error


def _read_tags(path: Path) -> tuple[Dataset, Dataset]:
    """The meta information of a file, and the tags that an image needs.

    They stay undecoded: pydicom warns of text that it cannot decode, and quotes it.
    """
    with path.open("rb") as handle:
        meta = _read_meta(handle)
        syntax = _text(meta, _SYNTAX)
        if not syntax.startswith(_IMPLICIT):
            # A private one, or none, which pydicom tries to guess.
            return meta, dcmread(path, stop_before_pixels=True, specific_tags=_TAGS, force=True)
        tags: BinaryIO = handle
        if syntax == _DEFLATED:
            # pydicom would inflate without a limit.
            tags = io.BytesIO(zlib.decompressobj(-zlib.MAX_WBITS).decompress(handle.read(), _MOST_INFLATED))
        return meta, read_dataset(
            tags, syntax == _IMPLICIT, syntax != _BIG_ENDIAN, stop_when=_is_pixels, specific_tags=[*_TAGS]
        )


def _read_meta(handle: BinaryIO) -> Dataset:
    """The meta information (PS3.10 7.1): always explicit little endian, and about nothing but the file."""
    read_preamble(handle, force=True)
    return read_dataset(handle, False, True, stop_when=lambda tag, vr, length: tag >> 16 != _META_GROUP)


def _is_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
    return int(tag) == int(_PIXELS)


def _file_meta(path: Path) -> tuple[str, str]:
    """The class of the object in a file and the transfer syntax; "" for what the meta information does not state.

    Raises:
        UserError: The file cannot be read.
    """
    try:
        with path.open("rb") as handle:
            meta = _read_meta(handle)
        return _text(meta, _SOP_CLASS), _text(meta, _SYNTAX)
    except OSError as error:
        raise not_readable(path, error) from error
    except Exception:  # no meta information, or a damaged one, which reading the file will explain
        return "", ""


def _raw(found: Dataset, tag: BaseTag) -> tuple[bytes, bool]:
    """The bytes of a value, and whether they are little endian."""
    if tag not in found:
        return b"", True
    element = found.get_item(tag)
    value = element.value
    little = bool(getattr(element, "is_little_endian", True))
    return (value if isinstance(value, bytes) else str(value or "").encode()), little


def _text(found: Dataset, tag: BaseTag) -> str:
    value = _raw(found, tag)[0].strip(b"\0 ")
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _integer(found: Dataset, tag: BaseTag) -> int:
    value, little = _raw(found, tag)
    return int.from_bytes(value[:2], "little" if little else "big")


def _numbers(found: Dataset, tag: BaseTag, count: int) -> tuple[float, ...] | None:
    """The numbers that a text lists, or None if it lists others than so many finite ones."""
    try:
        values = tuple(map(float, _text(found, tag).split("\\")))
    except ValueError:
        return None
    return values if len(values) == count and all(map(math.isfinite, values)) else None


def _axes(stated: tuple[float, ...] | None) -> tuple[float, ...] | None:
    """Unit vectors at right angles next to the stated directions of x and y, as ITK makes them; None for no plane."""
    if stated is None:
        return None
    x, y = np.reshape(stated, (2, 3))
    normal = _unit(np.cross(x, y))
    x = _unit(np.cross(y, normal))
    axes = np.concatenate([x, np.cross(normal, x)])
    return tuple(axes.tolist()) if np.isfinite(axes).all() else None


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """The vector divided by its length, rounded as by ITK; NaN for one without a direction."""
    with np.errstate(all="ignore"):
        return np.asarray(vector * (1 / np.sqrt(vector[0] ** 2 + vector[1] ** 2 + vector[2] ** 2)))


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
    others = [f"{len(rows) - _SHOWN} more"] if len(rows) > _SHOWN else []
    raise UserError(
        "The folder has several DICOM series.",
        file=path,
        found=f"{len(rows)} series: " + "; ".join(rows[:_SHOWN] + others),
        expected="the slices of one series",
        remedy="Put the files of each series into a separate folder, and name the one to be used, or the folder of "
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
                remedy="Put images of another size into a separate folder.",
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
            remedy="Separate images (X-rays, photographs) each need a separate folder.",
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
    from umseg.dataset.io.formats.lazy_sitk import same_locale, sitk

    values = np.empty((components, *geometry.shape), dtype=np.float32)
    for index, path in enumerate(paths):
        try:
            with same_locale():
                plane = sitk.GetArrayFromImage(_reader(path).Execute())
        except RuntimeError as error:
            raise _unreadable(path, error) from error
        plane = plane if components > 1 else plane[..., None]
        if plane.size != values[:, index].size:
            raise DamagedFileError(
                f"{path.name} holds {plane.size} values, its header promises {values[:, index].size}"
            )
        values[:, index] = np.moveaxis(plane.reshape(*geometry.shape[1:], components), -1, 0)
    return values


def _reader(path: Path) -> sitk.ImageFileReader:
    from umseg.dataset.io.formats.lazy_sitk import sitk

    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    return reader


def _unreadable(path: Path, error: Exception) -> UserError:
    syntax = _file_meta(path)[1]
    if not syntax or syntax in _PLAIN_SYNTAXES:
        return unreadable(path, error)
    return UserError(
        "The pixels of a DICOM file are compressed in a way that cannot be read, or damaged.",
        file=path,
        found=f"transfer syntax {_printable(syntax)}",
        expected="uncompressed pixels, or JPEG, JPEG-LS, JPEG 2000 or RLE",
        remedy="Decompress the series, e.g. with gdcmconv --raw or dcmdjpeg, or convert it with dcm2niix.",
    )


def _size_text(item: _Slice) -> str:
    (columns, rows), (x, y) = item.grid.size, item.grid.spacing
    return f"{columns} x {rows} pixels of {x:g} x {y:g} mm, {item.components} components"


def _printable(text: str) -> str:
    return "".join(letter for letter in text if letter.isprintable())[:64]
