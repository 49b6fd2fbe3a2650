"""The DICOM series that was segmented: what objects derived from it repeat, and the images that they refer to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from pydicom import DataElement, Dataset, config
from pydicom.datadict import dictionary_VR
from pydicom.multival import MultiValue
from pydicom.tag import Tag
from pydicom.uid import generate_uid

from umseg.common.errors import UserError
from umseg.dataset.dataset import Case
from umseg.dataset.io.formats.dicom.elements import quiet, read_elements
from umseg.dataset.io.formats.dicom.format import Dicom
from umseg.dataset.io.formats.dicom.frames import Frame, read_frames
from umseg.dataset.io.formats.dicom.series import read_series
from umseg.dataset.io.grid import SPACING_TOLERANCE, Geometry, placement_difference
from umseg.dataset.io.registry import format_of
from umseg.dataset.io.source import unreadable

_ALWAYS = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyInstanceUID", "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber"),
    "PositionReferenceIndicator",
)
"""Attributes that derived objects must have, if only empty."""
_IF_THERE = (
    *("IssuerOfPatientID", "PatientAge", "PatientIdentityRemoved", "DeidentificationMethod", "StudyDescription"),
    *("FrameOfReferenceUID",),
)


@dataclass(frozen=True)
class SourceSeries:
    """A series, and what objects derived from it repeat.

    Attributes:
        identity: Attributes of patient, study and place in space, as text without an encoding.
        slices: The images, in the order of the planes of a label map.
        geometry: The grid of the volume, as it was segmented.
    """

    identity: Dataset
    slices: tuple[Frame, ...]
    geometry: Geometry


def require_series(case: Case, what: str) -> Path:
    """The DICOM series of a case, by the header of one slice: derived objects can be written for no other input.

    Args:
        case: The case.
        what: The output, as messages begin, e.g. "A DICOM segmentation".

    Raises:
        UserError: The case is no DICOM series, or its images have no place in space.
    """
    path = case.images[0]
    form = format_of(path)
    if not isinstance(form, Dicom):
        raise UserError(
            f"{what} can only be written for DICOM images.",
            file=path,
            found=f"an image in the format {form.name}, which names no patient and no examination",
            expected="a folder of DICOM slices",
            remedy="Give the DICOM series as input, or choose another --format, e.g. nii.gz.",
        )
    for file in form.slices(path):
        frames = _guarded(file)
        if frames and not frames[0].placed:
            raise UserError(
                f"{what} can only be written for images that have a place in space.",
                file=file,
                found="no position or no orientation (X-rays and photographs have none)",
                expected="ImagePositionPatient and ImageOrientationPatient",
                remedy="Choose another --format, e.g. nii.gz.",
            )
        if frames:
            break
    return path


def read_source(path: Path, geometry: Geometry) -> SourceSeries:
    """Read the headers of a series again.

    Args:
        path: The folder of slices, or a single file.
        geometry: The grid that was segmented.

    Raises:
        UserError: The series cannot be read, or is no longer the one that was segmented.
    """
    series = read_series(path, Dicom().slices(path))
    if not _same_volume(series.geometry, geometry):
        raise UserError(
            "The DICOM series was changed while it was segmented.",
            file=path,
            found="slices of another size or place, or another number of them",
            remedy="Segment the series again when it is complete.",
        )
    return SourceSeries(_identity(series.slices[0].path), series.slices, geometry)


def _same_volume(stated: Geometry, segmented: Geometry) -> bool:
    """Whether slices lie where they lay; the size of pixels may have been corrected, or taken from another channel."""
    if stated.size != segmented.size or placement_difference(stated, segmented) is not None:
        return False
    steps = [grid.spacing[2] for grid in (stated, segmented)]
    return stated.size[2] == 1 or math.isclose(*steps, rel_tol=SPACING_TOLERANCE)


def _guarded(file: Path) -> list[Frame]:
    try:
        with quiet():
            return read_frames(file)
    except (UserError, MemoryError):
        raise
    except Exception as error:  # whatever pydicom trips over
        raise unreadable(file, error) from error


def _identity(file: Path) -> Dataset:
    """The attributes of patient and study that a file states, with new identifiers in place of those that it lacks."""
    identity = Dataset()
    try:
        with quiet():
            found = read_elements(file, [Tag(name) for name in (*_ALWAYS, *_IF_THERE)]).found
            for name in (*_ALWAYS, *_IF_THERE):
                text = _text(found[name].value) if name in found else ""
                if text or name in _ALWAYS:
                    # What is copied need not be valid.
                    vr = dictionary_VR(name)
                    identity.add(DataElement(Tag(name), vr, text, validation_mode=config.IGNORE))
    except (UserError, MemoryError):
        raise
    except Exception as error:  # whatever pydicom trips over
        raise unreadable(file, error) from error
    for name in ("StudyInstanceUID", "FrameOfReferenceUID"):
        if not identity.get(name):
            setattr(identity, name, generate_uid(prefix=None))
    return identity


def _text(value: object) -> str:
    """A value as text without an encoding; that of the file would not have the letters of all class names."""
    if isinstance(value, MultiValue):
        return "\\".join(map(str, value))
    return "" if value is None else str(value)
