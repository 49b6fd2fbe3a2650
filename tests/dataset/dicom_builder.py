"""Small DICOM series, made for a test, with a patient whose name must appear nowhere."""

# SimpleITK's methods carry no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom import Sequence as Items
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, CTImageStorage, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from umseg.dataset.io.formats.lazy_sitk import same_locale

PATIENT = ("SECRETNAME^ANNA", "SECRETID-77", "19010203")
AXES = np.eye(3)


def write_series(
    folder: Path,
    values: NDArray[np.integer],
    spacing: tuple[float, float, float] = (0.5, 0.75, 2.0),
    origin: Sequence[float] = (10.0, -20.0, 30.0),
    axes: NDArray[np.float64] = AXES,
    positions: Sequence[Sequence[float]] | None = None,
    tags: Mapping[str, str] = {},
    uid: str = "1.2.826.0.1.5",
    compressor: str = "",
    first: int = 0,
) -> list[Path]:
    """Write one file per slice.

    Args:
        folder: For the files, in the reverse order of the slices, so that names do not tell the order.
        values: (z, y, x).
        spacing: mm (x, y, z).
        origin: Of the first slice.
        axes: Columns: the directions of x, y and z.
        positions: Of the slices, instead of origin plus steps along z.
        tags: Further DICOM tags; an empty value leaves the tag out.
        uid: Of the series.
        compressor: ``JPEG2000`` or another of SimpleITK's names.
        first: Number of the first file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    if compressor:
        writer.UseCompressionOn()
        writer.SetCompressor(compressor)
    paths = []
    for number, plane in enumerate(values):
        place = np.asarray(origin) + number * spacing[2] * axes[:, 2] if positions is None else positions[number]
        image = sitk.GetImageFromArray(plane[None])
        image.SetSpacing(spacing)
        fields = {
            "0008|0060": "CT",
            "0008|103e": "thorax",
            "0008|0018": f"{uid}.{first + number + 1}",
            "0020|000d": "1.2.826.0.1.4",
            "0020|000e": uid,
            "0010|0010": PATIENT[0],
            "0010|0020": PATIENT[1],
            "0010|0030": PATIENT[2],
            "0018|0050": str(spacing[2]),
            "0020|0032": "\\".join(f"{value:.6f}" for value in place),
            "0020|0037": "\\".join(f"{value:.9f}" for value in axes[:, :2].T.ravel()),
            **tags,
        }
        for tag, text in fields.items():
            if text:
                image.SetMetaData(tag, text)
        paths.append(folder / f"IM{first + len(values) - number:04d}.dcm")
        writer.SetFileName(str(paths[-1]))
        with same_locale():
            writer.Execute(image)
    return paths


def write_slice(
    path: Path,
    values: NDArray[Any],
    number: int = 0,
    *,
    kind: UID = CTImageStorage,
    syntax: UID = ExplicitVRLittleEndian,
    colours: str = "MONOCHROME2",
    stored_bits: int | None = None,
    stream: bytes | None = None,
    spacing: tuple[float, float] | None = (0.7, 0.9),
    placed: bool = True,
    **tags: Any,
) -> Dataset:
    """Write one file through pydicom: the slice at z = 30 + 2.5 * number mm.

    Args:
        path: The file.
        values: (rows, columns[, components]); for an enhanced file (frames, rows, columns).
        number: Of the slice.
        kind: Class of the object.
        syntax: Transfer syntax.
        colours: Photometric interpretation.
        stored_bits: Bits that are used, of those of the type of ``values``; None: all.
        stream: The compressed pixels.
        spacing: Of rows and columns in mm; None: not stated.
        placed: Whether position and orientation are stated.
        tags: Further tags; None leaves a tag out.
    """
    content = Dataset()
    content.SOPClassUID, content.SOPInstanceUID, content.SeriesInstanceUID = kind, f"1.2.3.{number + 1}", "1.2.3"
    content.Modality, content.PatientName = "CT", PATIENT[0]
    content.Rows, content.Columns = values.shape[:2] if values.shape[-1] == 3 else values.shape[-2:]
    content.SamplesPerPixel = 3 if values.shape[-1] == 3 else 1
    if content.SamplesPerPixel == 3:
        content.PlanarConfiguration = 0
    content.PhotometricInterpretation = colours
    content.BitsAllocated = 8 * values.dtype.itemsize
    content.BitsStored = stored_bits or content.BitsAllocated
    content.HighBit = content.BitsStored - 1
    content.PixelRepresentation = int(values.dtype.kind == "i")
    if spacing is not None:
        content.PixelSpacing = list(spacing)
    if placed:
        content.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        content.ImagePositionPatient = [10, 20, 30 + 2.5 * number]
    stored = values.dtype.newbyteorder(">" if syntax == ExplicitVRBigEndian else "<")
    content.PixelData = values.astype(stored).tobytes()
    content["PixelData"].VR = "OW" if values.dtype.itemsize > 1 else "OB"
    if stream is not None:
        content.PixelData = encapsulate([stream])
        content["PixelData"].is_undefined_length = True
    for name, value in tags.items():
        if value is None:
            delattr(content, name)
        else:
            setattr(content, name, value)
    content.file_meta = FileMetaDataset()
    content.file_meta.TransferSyntaxUID = syntax
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(
        path,
        content,
        implicit_vr=syntax == ImplicitVRLittleEndian,
        little_endian=syntax != ExplicitVRBigEndian,
        enforce_file_format=True,
    )
    return content


def group(**tags: Any) -> Items:
    """A sequence of one item with these tags, as in the functional groups of enhanced files."""
    item = Dataset()
    for name, value in tags.items():
        setattr(item, name, value)
    return Items([item])


def enhanced_groups(heights: Sequence[float], scales: Sequence[tuple[float, float]] | None = None) -> dict[str, Items]:
    """The tags of an enhanced file whose images lie at these heights.

    Args:
        heights: Of each image, in mm.
        scales: Slope and intercept of each image; None: 1 and -1024 for all.
    """
    shared = Dataset()
    shared.PixelMeasuresSequence = group(PixelSpacing=[0.7, 0.9], SliceThickness=2.5)
    shared.PlaneOrientationSequence = group(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    if scales is None:
        shared.PixelValueTransformationSequence = group(RescaleSlope=1, RescaleIntercept=-1024, RescaleType="HU")
    own = []
    for number, height in enumerate(heights):
        item = Dataset()
        item.PlanePositionSequence = group(ImagePositionPatient=[10, 20, height])
        if scales is not None:
            slope, intercept = scales[number]
            item.PixelValueTransformationSequence = group(RescaleSlope=slope, RescaleIntercept=intercept)
        own.append(item)
    return {"SharedFunctionalGroupsSequence": Items([shared]), "PerFrameFunctionalGroupsSequence": Items(own)}
