"""What all DICOM objects that are derived from a series have in common: modules, codes, and the beginning of the file.

Text is written as UTF-8 whatever the encoding of the series is, because the names of classes may have any letters.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.uid import PYDICOM_IMPLEMENTATION_UID, UID, generate_uid

from umseg import __version__
from umseg.dataset.io.formats.dicom.frames import Frame
from umseg.inference.outputs.dicom.source import SourceSeries

_LONG_TEXT = 64
"""Letters of a value of the type LO."""
_PREAMBLE = bytes(128) + b"DICM"


def new_object(source: SourceSeries, kind: str, modality: str, series_number: int, model: str) -> Dataset:
    """A new object in a new series of the examination that was segmented, without what is special for its kind.

    Args:
        source: The series that was segmented.
        kind: The storage class.
        modality: ``SEG`` or ``RTSTRUCT``.
        series_number: Of the new series.
        model: Name of the model.
    """
    now = datetime.now().astimezone()
    content = Dataset()
    content.SpecificCharacterSet = "ISO_IR 192"
    content.update(source.identity)
    content.SOPClassUID, content.SOPInstanceUID = kind, new_uid()
    content.Modality, content.SeriesInstanceUID = modality, new_uid()
    content.SeriesNumber, content.InstanceNumber = series_number, 1
    content.SeriesDescription = long_text(f"Segmentation by {algorithm(model)}")
    content.InstanceCreationDate = content.SeriesDate = now.strftime("%Y%m%d")
    content.InstanceCreationTime = content.SeriesTime = now.strftime("%H%M%S")
    content.Manufacturer, content.ManufacturerModelName = "umseg", long_text(model)
    content.DeviceSerialNumber, content.SoftwareVersions = "none", long_text(__version__)
    return content


def algorithm(model: str) -> str:
    """The name of the algorithm in objects that a model made."""
    return f"umseg {__version__} {model}"


def new_uid() -> str:
    """A new identifier, derived from a random UUID (PS3.5 B.2)."""
    return str(generate_uid(prefix=None))


def code(value: str, scheme: str, meaning: str) -> Sequence[Dataset]:
    """The one item of a sequence of codes."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return [item]


def reference(image: Frame) -> Dataset:
    """An item that refers to an image: to a file, or to one of several images in a file."""
    item = reference_to_file(image)
    if image.count > 1:
        item.ReferencedFrameNumber = image.number + 1
    return item


def reference_to_file(image: Frame) -> Dataset:
    """An item that refers to the file of an image."""
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = image.kind, image.instance
    return item


def files_of(source: SourceSeries) -> list[Frame]:
    """One image of each file of a series; none of a series without identifiers, to which nothing can refer."""
    if not all(image.instance and image.kind and image.series for image in source.slices):
        return []
    return list({image.instance: image for image in source.slices}.values())


def long_text(text: str) -> str:
    """A text as it may stand in a value of at most 64 letters; the backslash would separate two values."""
    return re.sub(r"[\\\x00-\x1f\x7f]", " ", text).strip()[:_LONG_TEXT].strip()


def beginning(content: Dataset, syntax: str) -> bytes:
    """What stands in a file before the data set: the preamble and the meta information."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = content.SOPClassUID, content.SOPInstanceUID
    meta.TransferSyntaxUID = UID(syntax)
    meta.ImplementationClassUID, meta.ImplementationVersionName = PYDICOM_IMPLEMENTATION_UID, "UMSEG"
    buffer = DicomBytesIO()
    write_file_meta_info(buffer, meta)
    return _PREAMBLE + buffer.getvalue()


def encoded(content: Dataset, implicit: bool) -> bytes:
    """A data set as bytes, little endian, with or without the types of its values."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, implicit
    write_dataset(buffer, content)
    return buffer.getvalue()
