"""DICOM segmentations whose pixels are labels (LABELMAP) are read as label maps, here those that highdicom writes."""

# highdicom is not typed strictly.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from highdicom.seg import Segmentation, SegmentDescription
from numpy.typing import NDArray
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless, RLELossless

from tests.dataset.dicom_builder import write_series
from umseg.common.errors import UserError
from umseg.dataset.io.images import read_geometry, read_image, read_label

VALUES = np.random.default_rng(0).integers(0, 4, (5, 8, 9)).astype(np.uint8)
ALGORITHM = highdicom.AlgorithmIdentificationSequence(name="a", version="1", family=codes.DCM.ArtificialIntelligence)


def write(folder: Path, values: NDArray[np.unsignedinteger[Any]], syntax: str, **options: Any) -> Path:
    """A series in ``folder`` / series and its segmentation beside it; plane k lies on the k-th slice from below."""
    write_series(folder / "series", values.astype(np.int16))
    images = sorted(map(pydicom.dcmread, (folder / "series").iterdir()), key=lambda item: item.ImagePositionPatient[2])
    for image in images:
        image.PatientSex = image.AccessionNumber = image.StudyID = image.StudyDate = image.StudyTime = ""
        image.FrameOfReferenceUID = "1.2.3"
    segments = [
        SegmentDescription(number, f"class {number}", codes.SCT.Tissue, codes.SCT.Tissue, "AUTOMATIC", ALGORITHM)
        for number in range(1, int(values.max()) + 1)
    ]
    written = Segmentation(
        images, values, "LABELMAP", segments,
        series_instance_uid="1.2.4", series_number=1, sop_instance_uid="1.2.5", instance_number=1,
        manufacturer="m", manufacturer_model_name="n", software_versions="1", device_serial_number="0",
        transfer_syntax_uid=syntax, omit_empty_frames=False, **options,
    )  # fmt: skip
    path = folder / "case.seg.dcm"
    written.save_as(path)
    return path


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEGLSLossless])
def test_labels_lie_on_the_grid_of_the_series(tmp_path: Path, syntax: str) -> None:
    label = read_label(write(tmp_path, VALUES, syntax))
    np.testing.assert_array_equal(label.array, VALUES)
    assert label.array.dtype == np.int8
    image = read_geometry(tmp_path / "series")
    assert label.geometry.size == image.size
    for field in ("spacing", "origin", "direction"):
        np.testing.assert_allclose(getattr(label.geometry, field), getattr(image, field), atol=1e-6)


def test_labels_of_16_bits(tmp_path: Path) -> None:
    values = VALUES.astype(np.uint16)
    values[2, 3, 4] = 300
    np.testing.assert_array_equal(read_label(write(tmp_path, values, ExplicitVRLittleEndian)).array, values)


def test_the_indices_of_a_palette_are_the_labels(tmp_path: Path) -> None:
    colours = np.random.default_rng(1).integers(0, 256, (256, 3)).astype(np.uint8)
    palette = highdicom.PaletteColorLUTTransformation.from_combined_lut(colours)
    path = write(tmp_path, VALUES, ExplicitVRLittleEndian, palette_color_lut_transformation=palette)
    assert pydicom.dcmread(path).PhotometricInterpretation == "PALETTE COLOR"
    np.testing.assert_array_equal(read_label(path).array, VALUES)


def test_a_segmentation_is_no_image(tmp_path: Path) -> None:
    path = write(tmp_path, VALUES, ExplicitVRLittleEndian)
    with pytest.raises(UserError, match="no DICOM image"):
        read_image([path])


def test_segmentations_of_other_types_are_no_label_maps(tmp_path: Path) -> None:
    path = write(tmp_path, VALUES, ExplicitVRLittleEndian)
    content = pydicom.dcmread(path)
    content.file_meta.MediaStorageSOPClassUID = content.SOPClassUID = pydicom.uid.SegmentationStorage
    pydicom.dcmwrite(path, content)
    with pytest.raises(UserError, match="no DICOM image"):
        read_label(path)
