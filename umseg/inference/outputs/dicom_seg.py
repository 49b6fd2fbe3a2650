"""DICOM segmentations: the label map itself as the pixels of one file (LABELMAP, PS3.3 A.89, Supplement 243).

The data set is compressed as a whole (Deflated Explicit VR Little Endian): that needs no codec but zlib, which DCMTK,
GDCM, dcm4che and pydicom have, and gives files as small as .nii.gz. Planes go through the compressor one by one, so
that no second copy of the label map is made.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.tag import Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian
from pydicom.valuerep import DSfloat

from umseg import __version__
from umseg.common.colours import lab
from umseg.common.errors import UserError
from umseg.common.files import atomic_path
from umseg.dataset.io.formats.dicom.frames import LABEL_MAP, Frame
from umseg.inference.outputs.dicom.header import (
    algorithm,
    beginning,
    code,
    encoded,
    files_of,
    long_text,
    new_object,
    new_uid,
    reference,
    reference_to_file,
)
from umseg.inference.outputs.dicom.output import DicomOutput
from umseg.inference.outputs.dicom.source import SourceSeries
from umseg.inference.outputs.labels import Label

ENDING = ".seg.dcm"
_SERIES_NUMBER = 300
_MOST_LABELS = 2**16 - 1
_MOST_BYTES = 2**32 - 2
"""Largest value of a data element."""
_LEVEL = 6


class DicomSegOutput(DicomOutput):
    """Writes ``CASE.seg.dcm``, a DICOM segmentation of type LABELMAP."""

    ending = ENDING
    what = "A DICOM segmentation"

    def write_object(
        self, path: Path, label_map: NDArray[np.integer[Any]], source: SourceSeries, labels: Sequence[Label]
    ) -> None:
        """As in :class:`DicomOutput`."""
        write_label_map(path, label_map, source, labels, self.model)


def write_label_map(
    path: Path, label_map: NDArray[np.integer[Any]], source: SourceSeries, labels: Sequence[Label], model: str
) -> None:
    """Write a DICOM segmentation, whole or not at all.

    Args:
        path: The file.
        label_map: (z, y, x), values at least 0; plane k lies on image k of the series.
        source: The series.
        labels: All labels of the label map but the background.
        model: Name of the model.

    Raises:
        UserError: The label map has too many labels or voxels for the format, or the file cannot be written.
    """
    pixel = np.dtype("<u1" if max([0, *(label.value for label in labels)]) < 256 else "<u2")
    _check_limits(path, label_map, pixel)
    content = _describe(source, labels, pixel, model)
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        handle.write(beginning(content, DeflatedExplicitVRLittleEndian))
        compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        for part in _data_set(content, label_map, pixel):
            handle.write(compressor.compress(part))
        handle.write(compressor.flush())
        if handle.tell() % 2:
            handle.write(b"\0")


def _data_set(content: Dataset, label_map: NDArray[np.integer[Any]], pixel: np.dtype[Any]) -> Iterator[bytes]:
    """The data set in pieces: its header, then the planes as the value of PixelData."""
    yield encoded(content, implicit=False)
    size = label_map.size * pixel.itemsize
    tag = Tag("PixelData")
    vr = b"OB" if pixel.itemsize == 1 else b"OW"
    yield struct.pack("<HH2sHI", tag.group, tag.element, vr, 0, size + size % 2)
    for plane in label_map:
        yield plane.astype(pixel).tobytes()
    yield bytes(size % 2)


def _check_limits(path: Path, label_map: NDArray[np.integer[Any]], pixel: np.dtype[Any]) -> None:
    highest, size = int(label_map.max(initial=0)), label_map.size * pixel.itemsize
    if highest > _MOST_LABELS or size > _MOST_BYTES or max(label_map.shape[1:]) > _MOST_LABELS:
        raise UserError(
            "The label map is too large for a DICOM segmentation.",
            file=path,
            found=f"{' x '.join(map(str, label_map.shape))} voxels, labels up to {highest}",
            expected=f"labels up to {_MOST_LABELS:,} and at most {_MOST_BYTES:,} bytes",
            remedy="Choose another --format, e.g. nii.gz.",
        )


def _describe(source: SourceSeries, labels: Sequence[Label], pixel: np.dtype[Any], model: str) -> Dataset:
    """Everything but the pixels."""
    content = new_object(source, LABEL_MAP, "SEG", _SERIES_NUMBER, model)
    content.ContentDate, content.ContentTime = content.SeriesDate, content.SeriesTime
    content.ContentLabel, content.ContentDescription, content.ContentCreatorName = "SEGMENTATION", "", ""
    content.ImageType = ["DERIVED", "PRIMARY"]
    content.LossyImageCompression = "00"
    content.SamplesPerPixel, content.PhotometricInterpretation = 1, "MONOCHROME2"
    content.PresentationLUTShape = "IDENTITY"
    content.Columns, content.Rows, content.NumberOfFrames = source.geometry.size
    content.BitsAllocated = content.BitsStored = 8 * pixel.itemsize
    content.HighBit, content.PixelRepresentation = 8 * pixel.itemsize - 1, 0
    content.PixelPaddingValue = 0
    content.SegmentationType, content.SegmentsOverlap = "LABELMAP", "NO"
    content.SegmentSequence = [_background(), *(_segment(label, model) for label in labels)]
    _add_references(content, source)
    _add_places(content, source)
    return content


def _background() -> Dataset:
    item = Dataset()
    item.SegmentNumber, item.SegmentLabel, item.SegmentAlgorithmType = 0, "Background", "AUTOMATIC"
    item.SegmentAlgorithmName = "umseg"
    item.SegmentedPropertyCategoryCodeSequence = code("125040", "DCM", "Background")
    item.SegmentedPropertyTypeCodeSequence = code("125040", "DCM", "Background")
    item.RecommendedDisplayCIELabValue = _stored_colour((0, 0, 0))
    return item


def _segment(label: Label, model: str) -> Dataset:
    """The description of a label; its meaning is in its name, for which there is no code."""
    item = Dataset()
    item.SegmentNumber, item.SegmentLabel = label.value, long_text(label.name) or f"label {label.value}"
    item.SegmentAlgorithmType, item.SegmentAlgorithmName = "AUTOMATIC", long_text(algorithm(model))
    item.SegmentedPropertyCategoryCodeSequence = code("91723000", "SCT", "Anatomical Structure")
    item.SegmentedPropertyTypeCodeSequence = code("85756007", "SCT", "Tissue")
    item.RecommendedDisplayCIELabValue = _stored_colour(label.colour)
    maker = Dataset()
    maker.AlgorithmFamilyCodeSequence = code("123110", "DCM", "Artificial Intelligence")
    maker.AlgorithmName, maker.AlgorithmVersion = long_text(f"umseg {model}"), __version__
    item.SegmentationAlgorithmIdentificationSequence = [maker]
    return item


def _stored_colour(colour: tuple[int, int, int]) -> list[int]:
    """L*, a* and b* in the range of 16 bits (PS3.3 C.10.7.1.1)."""
    lightness, red_green, yellow_blue = lab(np.array([colour]) / 255)[0]
    scaled = [lightness / 100, (red_green + 128) / 255, (yellow_blue + 128) / 255]
    return [min(max(round(65535 * float(part)), 0), 65535) for part in scaled]


def _add_references(content: Dataset, source: SourceSeries) -> None:
    """Refer to the series that was segmented, if it has identifiers."""
    images = files_of(source)
    if images:
        series = Dataset()
        series.SeriesInstanceUID = images[0].series
        series.ReferencedInstanceSequence = [reference_to_file(image) for image in images]
        content.ReferencedSeriesSequence = [series]


def _add_places(content: Dataset, source: SourceSeries) -> None:
    """Where the planes lie: what they share, and the position of each, which is that of its image."""
    grid = source.geometry
    x, y, z = grid.spacing
    measures, orientation, shared = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = _decimals((y, x))
    measures.SliceThickness = measures.SpacingBetweenSlices = DSfloat(z, auto_format=True)
    axes = np.reshape(grid.direction, (3, 3))
    orientation.ImageOrientationPatient = _decimals([*axes[:, 0], *axes[:, 1]])
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    content.SharedFunctionalGroupsSequence = [shared]

    organization, index = Dataset(), Dataset()
    organization.DimensionOrganizationUID = index.DimensionOrganizationUID = new_uid()
    index.DimensionIndexPointer = Tag("ImagePositionPatient")
    index.FunctionalGroupPointer = Tag("PlanePositionSequence")
    index.DimensionDescriptionLabel = "Image Position Patient"
    content.DimensionOrganizationSequence, content.DimensionIndexSequence = [organization], [index]
    content.DimensionOrganizationType = "3D"
    is_referred_to = bool(files_of(source))
    content.PerFrameFunctionalGroupsSequence = [
        _plane(number, image, is_referred_to) for number, image in enumerate(source.slices, start=1)
    ]


def _plane(number: int, image: Frame, is_referred_to: bool) -> Dataset:
    frame, place, item = Dataset(), Dataset(), Dataset()
    frame.DimensionIndexValues = [number]
    place.ImagePositionPatient = _decimals(image.grid.origin)
    item.FrameContentSequence, item.PlanePositionSequence = [frame], [place]
    if is_referred_to:
        origin, derivation = reference(image), Dataset()
        origin.SpatialLocationsPreserved = "YES"
        origin.PurposeOfReferenceCodeSequence = code("121322", "DCM", "Source image for image processing operation")
        derivation.SourceImageSequence = [origin]
        derivation.DerivationCodeSequence = code("113076", "DCM", "Segmentation")
        item.DerivationImageSequence = [derivation]
    return item


def _decimals(values: Sequence[float] | NDArray[np.float64]) -> list[DSfloat]:
    """Numbers as decimal text, of which there is room for 16 characters."""
    return [DSfloat(float(value), auto_format=True) for value in values]
