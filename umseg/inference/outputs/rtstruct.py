"""DICOM structure sets (RTSTRUCT): the contours of every class on every slice, for radiotherapy planning.

Contours follow the edges of pixels, so that filling them at pixel centres gives the label map again. They are written
item by item and without the types of values (Implicit VR Little Endian): with types, a contour has at most 64 kB.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import ImplicitVRLittleEndian, RTStructureSetStorage

from umseg.common.errors import UserError
from umseg.common.files import atomic_path
from umseg.inference.outputs.dicom.contours import Contour, trace
from umseg.inference.outputs.dicom.header import (
    algorithm,
    beginning,
    encoded,
    files_of,
    long_text,
    new_object,
    reference,
    reference_to_file,
)
from umseg.inference.outputs.dicom.output import DicomOutput
from umseg.inference.outputs.dicom.source import SourceSeries
from umseg.inference.outputs.labels import Label

ENDING = ".rtstruct.dcm"
_SERIES_NUMBER = 301
_STUDY_CLASS = "1.2.840.10008.3.1.2.3.1"
"""Detached Study Management, the retired class by which structure sets refer to a study."""
_ROUNDING = 0.01
"""Largest error of a written coordinate, in pixels. Pixel centres are half a pixel away from contours."""
_DECIMALS, _CHARACTERS = 3, 16
"""Decimals of coordinates at least, for readers that look for the plane of a contour; characters at most."""
_MOST_CONTOURS = 2_000_000
"""More than any program draws; they take about a gigabyte of memory."""
_UNKNOWN_LENGTH = 2**32 - 1
_ITEM, _END_OF_ITEM, _END_OF_SEQUENCE = Tag(0xFFFEE000), Tag(0xFFFEE00D), Tag(0xFFFEE0DD)


@dataclass(frozen=True)
class _Outline:
    """A contour on a plane of the label map, as rows and columns of corners of pixels, (points, 2)."""

    plane: int
    corners: NDArray[np.int32]


class RtstructOutput(DicomOutput):
    """Writes ``CASE.rtstruct.dcm``, a DICOM structure set with a region of interest for every label."""

    ending = ENDING
    what = "A DICOM structure set"

    def write_object(
        self, path: Path, label_map: NDArray[np.integer[Any]], source: SourceSeries, labels: Sequence[Label]
    ) -> None:
        """As in :class:`DicomOutput`."""
        write_structures(path, label_map, source, labels, self.model)


def write_structures(
    path: Path, label_map: NDArray[np.integer[Any]], source: SourceSeries, labels: Sequence[Label], model: str
) -> None:
    """Write a DICOM structure set, whole or not at all.

    Args:
        path: The file.
        label_map: (z, y, x); plane k lies on image k of the series.
        source: The series.
        labels: The labels; those without a voxel become regions of interest without contours.
        model: Name of the model.

    Raises:
        UserError: The label map has too many contours, or the file cannot be written.
    """
    content, end = _describe(source, labels, model), _observe(labels)
    outlines = _trace_all(path, label_map, labels)
    writer = _ContourWriter(source)
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        handle.write(beginning(content, ImplicitVRLittleEndian))
        handle.write(encoded(content, implicit=True))
        handle.write(_start(Tag("ROIContourSequence"), _UNKNOWN_LENGTH))
        for label in labels:
            for part in writer.region(label, outlines[label.value]):
                handle.write(part)
        handle.write(_start(_END_OF_SEQUENCE, 0))
        handle.write(encoded(end, implicit=True))


def _trace_all(path: Path, label_map: NDArray[np.integer[Any]], labels: Sequence[Label]) -> dict[int, list[_Outline]]:
    """The outlines of each label, by its value. Those of regions are around all of their members."""
    found: dict[int, list[_Outline]] = {label.value: [] for label in labels}
    are_apart = all(label.members == (label.value,) for label in labels)
    count = 0
    for number, plane in enumerate(label_map):
        contours = trace(plane) if are_apart else [part for label in labels for part in _trace_region(plane, label)]
        for contour in contours:
            found[contour.label].append(_Outline(number, contour.points))
        count += len(contours)
        if count > _MOST_CONTOURS:
            raise UserError(
                "The label map is too ragged for a DICOM structure set.",
                file=path,
                found=f"{count:,} contours on {number + 1} of {len(label_map)} slices",
                expected=f"at most {_MOST_CONTOURS:,} contours",
                remedy="Choose another --format, e.g. dicom-seg.",
            )
    return found


def _trace_region(plane: NDArray[np.integer[Any]], label: Label) -> list[Contour]:
    inside = np.isin(plane, label.members).astype(np.uint8)
    return [Contour(label.value, contour.points) for contour in trace(inside)]


class _ContourWriter:
    """Encodes the contours of regions of interest."""

    def __init__(self, source: SourceSeries) -> None:
        self._slices = source.slices
        self._refers = bool(files_of(source))
        self._images: dict[int, bytes] = {}
        x, y, _ = source.geometry.spacing
        axes = np.reshape(source.geometry.direction, (3, 3))
        self._along_row, self._down_column = x * axes[:, 0], y * axes[:, 1]
        corners = np.abs([image.grid.origin for image in source.slices]).max()
        corners += np.abs(self._along_row).max() * source.geometry.size[0]
        corners += np.abs(self._down_column).max() * source.geometry.size[1]
        self._decimals = decimals_of(min(x, y), float(corners))

    def region(self, label: Label, outlines: Sequence[_Outline]) -> Iterator[bytes]:
        """The item of a label in the sequence of contours, in pieces."""
        yield _start(_ITEM, _UNKNOWN_LENGTH)
        yield _text("ROIDisplayColor", "\\".join(map(str, label.colour)))
        if outlines:
            yield _start(Tag("ContourSequence"), _UNKNOWN_LENGTH)
            for number, outline in enumerate(outlines, start=1):
                contour = self._contour(number, outline)
                yield _start(_ITEM, len(contour)) + contour
            yield _start(_END_OF_SEQUENCE, 0)
        yield _text("ReferencedROINumber", str(label.value))
        yield _start(_END_OF_ITEM, 0)

    def _contour(self, number: int, outline: _Outline) -> bytes:
        points = self._in_space(outline).ravel().tolist()
        pattern = "\\".join([f"%.{self._decimals}f"] * len(points))
        return b"".join(
            [
                self._image(outline.plane),
                _text("ContourGeometricType", "CLOSED_PLANAR"),
                _text("NumberOfContourPoints", str(len(outline.corners))),
                _text("ContourNumber", str(number)),
                _text("ContourData", pattern % tuple(points)),
            ]
        )

    def _in_space(self, outline: _Outline) -> NDArray[np.float64]:
        """The points (points, 3) in mm in the patient's axes: to the left, to the back, to the head."""
        rows, columns = (outline.corners.T - 0.5)[..., None]
        origin = np.asarray(self._slices[outline.plane].grid.origin)
        return np.asarray(origin + columns * self._along_row + rows * self._down_column)

    def _image(self, plane: int) -> bytes:
        """The reference to the image that a contour lies on; nothing where there are no identifiers."""
        if plane not in self._images:
            item = Dataset()
            if self._refers:
                item.ContourImageSequence = [reference(self._slices[plane])]
            self._images[plane] = encoded(item, implicit=True)
        return self._images[plane]


def decimals_of(pixel: float, farthest: float) -> int:
    """How many decimals coordinates are written with: so many that rounding moves no point by more than 0.01 pixels.

    Args:
        pixel: Length of a pixel in mm.
        farthest: The largest coordinate in mm.
    """
    needed = max(_DECIMALS, math.ceil(-math.log10(2 * _ROUNDING * pixel)))
    # A sign and a point take two of the characters.
    return max(min(needed, _CHARACTERS - 2 - len(str(int(farthest)))), 0)


def _start(tag: BaseTag, length: int) -> bytes:
    return struct.pack("<HHI", tag.group, tag.element, length)


def _text(keyword: str, text: str) -> bytes:
    """An element of digits or letters without accents, padded to an even length."""
    value = text.encode("ascii")
    value += b" " * (len(value) % 2)
    return _start(Tag(keyword), len(value)) + value


def _describe(source: SourceSeries, labels: Sequence[Label], model: str) -> Dataset:
    """Everything that stands before the contours."""
    content = new_object(source, RTStructureSetStorage, "RTSTRUCT", _SERIES_NUMBER, model)
    content.OperatorsName = ""
    content.StructureSetLabel, content.StructureSetName = "umseg", long_text(algorithm(model))
    content.StructureSetDate, content.StructureSetTime = content.SeriesDate, content.SeriesTime
    place = Dataset()
    place.FrameOfReferenceUID = content.FrameOfReferenceUID
    images = files_of(source)
    if images:
        study, series = Dataset(), Dataset()
        study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = _STUDY_CLASS, content.StudyInstanceUID
        series.SeriesInstanceUID = images[0].series
        series.ContourImageSequence = [reference_to_file(image) for image in images]
        study.RTReferencedSeriesSequence = [series]
        place.RTReferencedStudySequence = [study]
    content.ReferencedFrameOfReferenceSequence = [place]
    content.StructureSetROISequence = [_region(label, content.FrameOfReferenceUID, model) for label in labels]
    return content


def _region(label: Label, frame_of_reference: str, model: str) -> Dataset:
    item = Dataset()
    item.ROINumber, item.ROIName = label.value, long_text(label.name) or f"label {label.value}"
    item.ReferencedFrameOfReferenceUID = frame_of_reference
    item.ROIGenerationAlgorithm = "AUTOMATIC"
    item.ROIGenerationDescription = long_text(algorithm(model))
    return item


def _observe(labels: Sequence[Label]) -> Dataset:
    """Everything that stands behind the contours."""
    content = Dataset()
    content.RTROIObservationsSequence = []
    for label in labels:
        item = Dataset()
        item.ObservationNumber = item.ReferencedROINumber = label.value
        item.RTROIInterpretedType, item.ROIInterpreter = "", ""
        content.RTROIObservationsSequence.append(item)
    content.ApprovalStatus = "UNAPPROVED"
    return content
