"""The images in a DICOM file: a classic file holds one, an enhanced one many, with a place for each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.tag import BaseTag, Tag

from umseg.common.errors import UserError
from umseg.dataset.io.formats.dicom.elements import (
    SOP_CLASS,
    integer_of,
    numbers_of,
    read_elements,
    text_of,
)
from umseg.dataset.io.grid import Geometry
from umseg.dataset.io.source import DamagedFileError

# Storage classes (PS3.4 B.5) that are no images: reports, presentation states, raw data and registrations, radiotherapy
# structures and plans, documents.
NO_IMAGE = tuple(f"1.2.840.10008.5.1.4.1.1.{part}" for part in ("88.", "11.", "66", "481.3", "481.5", "481.8", "104."))
_DOSE = "1.2.840.10008.5.1.4.1.1.481.2"
LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
"""The storage class of segmentations whose pixels are labels."""

_KIND, _INSTANCE, _SERIES = Tag("SOPClassUID"), Tag("SOPInstanceUID"), Tag("SeriesInstanceUID")
_DESCRIPTION, _MODALITY = Tag("SeriesDescription"), Tag("Modality")
_ROWS, _COLUMNS, _COMPONENTS = Tag("Rows"), Tag("Columns"), Tag("SamplesPerPixel")
_COLOURS, _BITS = Tag("PhotometricInterpretation"), Tag("BitsAllocated")
_FRAMES, _THICKNESS = Tag("NumberOfFrames"), Tag("SliceThickness")
_POSITION, _ORIENTATION = Tag("ImagePositionPatient"), Tag("ImageOrientationPatient")
_SPACING, _SPACING_OF_DETECTOR = Tag("PixelSpacing"), Tag("ImagerPixelSpacing")
_SLOPE, _INTERCEPT, _DOSE_SCALE = Tag("RescaleSlope"), Tag("RescaleIntercept"), Tag("DoseGridScaling")
_LOOKUP = Tag("ModalityLUTSequence")
_SHARED, _PER_FRAME = Tag("SharedFunctionalGroupsSequence"), Tag("PerFrameFunctionalGroupsSequence")
# Where enhanced files state what classic files state for the whole file.
_GROUP_OF = {
    _POSITION: Tag("PlanePositionSequence"),
    _ORIENTATION: Tag("PlaneOrientationSequence"),
    _SPACING: Tag("PixelMeasuresSequence"),
    _THICKNESS: Tag("PixelMeasuresSequence"),
    _SLOPE: Tag("PixelValueTransformationSequence"),
    _INTERCEPT: Tag("PixelValueTransformationSequence"),
}
_TAGS: tuple[BaseTag, ...] = (
    *(_KIND, _INSTANCE, _SERIES, _DESCRIPTION, _MODALITY),
    *(_ROWS, _COLUMNS, _COMPONENTS, _COLOURS, _BITS, _FRAMES, _THICKNESS),
    *(_POSITION, _ORIENTATION, _SPACING, _SPACING_OF_DETECTOR, _SLOPE, _INTERCEPT, _DOSE_SCALE, _LOOKUP),
    *(_SHARED, _PER_FRAME),
)


@dataclass(frozen=True)
class Frame:
    """An image in a file, which is a slice of a series.

    Attributes:
        path: The file.
        number: The image's number in the file, from 0.
        count: How many images the file holds.
        kind: The class of the file's content.
        instance: Identifier of the file's content; "" where it has none.
        series: Identifier of its series.
        label: Description of its series, for messages.
        grid: Size and spacing of the pixels (x, y), the position of the first pixel, and the directions of x and y. The
            unit is None where the file does not state the spacing.
        components: Numbers per pixel, after the colours of a palette have replaced its indices.
        bits: Length of a stored number in bits.
        pixel_bytes: Length of the uncompressed pixels of the whole file.
        placed: Whether the file states position and orientation.
        thickness: Thickness of the slice in mm; 0 where the file does not state it.
        scale: Slope and intercept from the stored numbers to values; a slope of 0 is none.
        inverted: Whether small values are meant to be shown bright.
        lookup: Whether the file has a table from stored numbers to values.
    """

    path: Path
    number: int
    count: int
    kind: str
    instance: str
    series: str
    label: str
    grid: Geometry
    components: int
    bits: int
    pixel_bytes: int
    placed: bool
    thickness: float
    scale: tuple[float, float]
    inverted: bool
    lookup: bool

    @property
    def name(self) -> str:
        """The name of the file, and the number of an image among several, for messages."""
        return self.path.name if self.number == 0 else f"{self.path.name}, image {self.number + 1}"


def read_frames(path: Path, as_label: bool = False) -> list[Frame]:
    """The images of a file in order; none for a file that is no image.

    Args:
        path: The file.
        as_label: Whether a segmentation whose pixels are labels counts as an image, the colours of which do not matter.

    Raises:
        UserError: The file has several images without a place for each, or a scale that is no number.
        DamagedFileError, OSError: The file cannot be read.
        Exception: Whatever pydicom trips over.
    """
    elements = read_elements(path, _TAGS)
    kind, found = text_of(elements.meta, SOP_CLASS), elements.found
    if kind.startswith(NO_IMAGE) and not (as_label and kind == LABEL_MAP):
        return []
    size = (integer_of(found, _COLUMNS), integer_of(found, _ROWS))
    if not all(size):
        raise DamagedFileError("the file does not say how many rows and columns it has")
    count = int((_finite(numbers_of(found, _FRAMES, 1)) or (1,))[0])
    if count < 1:
        raise DamagedFileError(f"the file says that it holds {count} images")
    if count > 1 and _PER_FRAME not in found:
        raise _without_places(path, count)
    colours, stored = text_of(found, _COLOURS), integer_of(found, _COMPONENTS) or 1
    description = printable(text_of(found, _DESCRIPTION)) or "no description"
    bits = integer_of(found, _BITS)
    pixel_bytes = count * math.prod(size) * stored * max(bits, 8) // 8
    frames = []
    for number, groups in enumerate(_groups(found, count)):
        place = _finite(_stated(groups, _POSITION, 3))
        axes = _axes(_finite(_stated(groups, _ORIENTATION, 6)))
        if count > 1 and (place is None or axes is None):
            raise _without_places(path, count)
        spacing = _spacing(groups)
        thickness = _finite(_stated(groups, _THICKNESS, 1))
        frames.append(
            Frame(
                path,
                number,
                count,
                kind or text_of(found, _KIND),
                instance=text_of(found, _INSTANCE),
                series=text_of(found, _SERIES),
                label=f"'{description}' ({printable(text_of(found, _MODALITY))})",
                grid=Geometry(
                    size,
                    (1.0, 1.0) if spacing is None else (spacing[1], spacing[0]),
                    place or (0.0, 0.0, 0.0),
                    axes or (1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
                    None if spacing is None else "mm",
                ),
                components=3 if colours.startswith("PALETTE") and not as_label else stored,
                bits=bits,
                pixel_bytes=pixel_bytes,
                placed=place is not None and axes is not None,
                thickness=thickness[0] if thickness else 0.0,
                scale=_scale(path, groups, kind),
                inverted=colours == "MONOCHROME1",
                lookup=_LOOKUP in found,
            )
        )
    return frames


def _groups(found: Dataset, count: int) -> list[tuple[Dataset, ...]]:
    """For each image, where its tags may stand: in its own groups, in those of all images, in the file."""
    shared = tuple(found[_SHARED].value or ()) if _SHARED in found else ()
    own = list(found[_PER_FRAME].value or ()) if _PER_FRAME in found else []
    if _PER_FRAME in found and len(own) != count:
        raise DamagedFileError(f"the file describes {len(own)} images and says that it holds {count}")
    return [(*own[number : number + 1], *shared[:1], found) for number in range(count)]


def _stated(groups: Sequence[Dataset], tag: BaseTag, count: int) -> tuple[float, ...] | None:
    """The numbers of a tag in the first place that states it."""
    for place in groups[:-1]:
        group = _GROUP_OF[tag]
        items = place[group].value if group in place else ()
        if items and tag in items[0]:
            return numbers_of(items[0], tag, count)
    return numbers_of(groups[-1], tag, count)


def _spacing(groups: Sequence[Dataset]) -> tuple[float, ...] | None:
    """Distance of rows and of columns: what is stated, even if it is of no use; None if nothing is."""
    stated = _stated(groups, _SPACING, 2)
    if stated is not None and all(math.isfinite(value) and value for value in stated):
        return stated
    on_detector = numbers_of(groups[-1], _SPACING_OF_DETECTOR, 2)
    usable = on_detector is not None and all(math.isfinite(value) and value for value in on_detector)
    return on_detector if usable or stated is None else stated


def _scale(path: Path, groups: Sequence[Dataset], kind: str) -> tuple[float, float]:
    slope = _stated(groups, _SLOPE, 1)
    if slope is None and kind == _DOSE:
        slope = numbers_of(groups[-1], _DOSE_SCALE, 1)
    intercept = _stated(groups, _INTERCEPT, 1)
    scale = (slope[0] if slope else 1.0, intercept[0] if intercept else 0.0)
    if not all(map(math.isfinite, scale)):
        raise UserError(
            "The scale of values in a DICOM file is no number.",
            file=path,
            found=f"slope {scale[0]:g}, intercept {scale[1]:g}",
            expected="finite numbers (RescaleSlope, RescaleIntercept)",
            remedy="Correct the tags, or take the case out of the data set.",
        )
    return scale


def _without_places(path: Path, count: int) -> UserError:
    return UserError(
        "The DICOM file holds several frames.",
        file=path,
        found=f"{count} frames",
        expected="one slice per file, or position and orientation of every frame (PerFrameFunctionalGroupsSequence)",
        remedy="Convert it with dcm2niix, which knows whether the frames are slices or time points, and use its "
        ".nii.gz.",
    )


def _finite(values: tuple[float, ...] | None) -> tuple[float, ...] | None:
    return values if values is not None and all(map(math.isfinite, values)) else None


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


def printable(text: str) -> str:
    """A text of a file as it may stand in a message."""
    return "".join(letter for letter in text if letter.isprintable())[:64]
