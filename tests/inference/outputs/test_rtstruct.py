"""DICOM structure sets: contours that are filled again at pixel centres give the label map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import UID, EnhancedCTImageStorage, ImplicitVRLittleEndian

from tests.dataset.dicom_builder import PATIENT, enhanced_groups, write_slice
from tests.inference.outputs.dicom.filling import fill
from tests.inference.outputs.dicom.series import (
    FRAME_OF_REFERENCE,
    OBLIQUE,
    SPACING,
    STRAIGHT,
    describe,
    make_labels,
    places,
    read_again,
    segment,
)
from umseg.common.errors import UserError
from umseg.inference.outputs import rtstruct
from umseg.inference.outputs.case_output import SegmentedCase
from umseg.inference.outputs.rtstruct import RtstructOutput, decimals_of

OUTPUT = RtstructOutput("umamba_enc 3d_fullres")


def write(result: SegmentedCase, folder: Path) -> Dataset:
    OUTPUT.write(result, folder)
    (path,) = OUTPUT.files(result.case, folder)
    content = pydicom.dcmread(path)
    assert content.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    return content


def contours(content: Dataset) -> dict[int, list[tuple[str, NDArray[np.float64]]]]:
    """The images and the points (points, 3) in mm of the contours of each region of interest."""
    return {
        int(roi.ReferencedROINumber): [
            (
                contour.ContourImageSequence[0].ReferencedSOPInstanceUID,
                np.array(contour.ContourData, float).reshape(int(contour.NumberOfContourPoints), 3),
            )
            for contour in roi.get("ContourSequence", [])
        ]
        for roi in content.ROIContourSequence
    }


def fill_volume(
    found: list[tuple[str, NDArray[np.float64]]], shape: tuple[int, int, int], axes: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """The voxels (z, y, x) inside of contours, in a series that was written along these axes."""
    volume = np.zeros(shape, dtype=bool)
    firsts = places(shape, axes)[:, 0, 0]
    for number, first in enumerate(firsts):
        steps = [(points - first) @ axes / SPACING for _, points in found]
        flat = [step[:, 1::-1] for step in steps if np.allclose(step[:, 2], 0, atol=1e-3)]
        volume[number] = fill(flat, shape[1:])
    return volume


@pytest.mark.parametrize("axes", [*STRAIGHT, *OBLIQUE])
def test_filled_contours_are_the_labels(tmp_path: Path, axes: NDArray[np.float64]) -> None:
    labels = make_labels()
    found = contours(write(segment(tmp_path / "case", labels, axes=axes), tmp_path))
    assert list(found) == [1, 2, 3]
    for value in found:
        np.testing.assert_array_equal(fill_volume(found[value], labels.shape, axes), labels == value)


def test_holes_stay_open(tmp_path: Path) -> None:
    labels = np.zeros((2, 12, 13), np.int16)
    labels[0, 1:11, 2:12] = 1
    labels[0, 3:6, 4:7] = labels[0, 8, 9] = 0
    labels[0, 4, 5] = 2
    found = contours(write(segment(tmp_path / "case", labels), tmp_path))
    assert {value: len(parts) for value, parts in found.items()} == {1: 1, 2: 1, 3: 0}
    np.testing.assert_array_equal(fill_volume(found[1], labels.shape, np.eye(3)), labels == 1)


def test_contours_refer_to_the_images_that_they_lie_on(tmp_path: Path) -> None:
    content = write(segment(tmp_path / "case", make_labels()), tmp_path)
    heights = {
        image.SOPInstanceUID: image.ImagePositionPatient[2]
        for image in map(pydicom.dcmread, (tmp_path / "case").iterdir())
    }
    found = [part for parts in contours(content).values() for part in parts]
    assert len(found) > 20
    for image, points in found:
        assert set(points[:, 2]) == {heights[image]}
    study = content.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
    images = study.RTReferencedSeriesSequence[0].ContourImageSequence
    assert {item.ReferencedSOPInstanceUID for item in images} == set(heights)
    assert study.ReferencedSOPInstanceUID == content.StudyInstanceUID == "1.2.826.0.1.4"


def test_frames_of_an_enhanced_file_are_named_by_their_numbers(tmp_path: Path) -> None:
    labels = np.zeros((3, 5, 6), np.int16)
    labels[1, 2, 3] = 1
    path = tmp_path / "enhanced.dcm"
    groups: dict[str, Any] = {**enhanced_groups([30, 35, 32.5], [(1, 0)] * 3)}
    write_slice(path, labels, kind=EnhancedCTImageStorage, spacing=None, placed=False, NumberOfFrames=3, **groups)
    content = write(read_again(path), tmp_path)
    (contour,) = content.ROIContourSequence[0].ContourSequence
    assert contour.ContourImageSequence[0].ReferencedFrameNumber == 2
    assert set(np.reshape(contour.ContourData, (-1, 3))[:, 2]) == {35}


def test_regions_of_interest_state_class_colour_and_algorithm(tmp_path: Path) -> None:
    description = describe({"background": 0, "Leber": 1, "großes Herz": 2, "x" * 100: 3})
    content = write(segment(tmp_path / "case", make_labels(), description), tmp_path)
    assert (content.PatientName, content.PatientID, content.PatientBirthDate) == PATIENT
    assert content.FrameOfReferenceUID == FRAME_OF_REFERENCE
    assert UID(content.SOPInstanceUID).is_valid
    regions = content.StructureSetROISequence
    assert [(region.ROINumber, region.ROIName) for region in regions] == [
        *((1, "Leber"), (2, "großes Herz"), (3, "x" * 64))
    ]
    assert all(region.ReferencedFrameOfReferenceUID == FRAME_OF_REFERENCE for region in regions)
    assert regions[0].ROIGenerationAlgorithm == "AUTOMATIC"
    assert "umamba_enc 3d_fullres" in regions[0].ROIGenerationDescription
    # Matplotlib's orange.
    assert content.ROIContourSequence[1].ROIDisplayColor == [255, 127, 14]
    assert [item.ReferencedROINumber for item in content.RTROIObservationsSequence] == [1, 2, 3]


def test_regions_are_whole_with_the_regions_inside(tmp_path: Path) -> None:
    description = describe({"background": 0, "whole": [1, 2], "core": [2]}, regions_class_order=(1, 2))
    labels = make_labels(highest=2)
    found = contours(write(segment(tmp_path / "case", labels, description), tmp_path))
    np.testing.assert_array_equal(fill_volume(found[1], labels.shape, np.eye(3)), labels > 0)
    np.testing.assert_array_equal(fill_volume(found[2], labels.shape, np.eye(3)), labels == 2)


def test_objects_are_numbered(tmp_path: Path) -> None:
    description = describe({"background": 0, "nucleus": 1}, task="instance")
    labels = make_labels(highest=2) * 7
    content = write(segment(tmp_path / "case", labels, description), tmp_path)
    assert [region.ROIName for region in content.StructureSetROISequence] == ["nucleus 7", "nucleus 14"]
    np.testing.assert_array_equal(fill_volume(contours(content)[14], labels.shape, np.eye(3)), labels == 14)


def test_a_label_map_without_labels_has_regions_of_interest_without_contours(tmp_path: Path) -> None:
    content = write(segment(tmp_path / "case", np.zeros((2, 5, 6), np.int16)), tmp_path)
    assert contours(content) == {1: [], 2: [], 3: []}


def test_a_label_map_with_too_many_contours_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtstruct, "_MOST_CONTOURS", 50)
    result = segment(tmp_path / "case", make_labels())
    with pytest.raises(UserError, match="too ragged") as error:
        OUTPUT.write(result, tmp_path)
    assert "of 4 slices" in str(error.value)
    assert not list(tmp_path.glob("*.dcm"))


@pytest.mark.parametrize(
    ("pixel", "farthest", "decimals"), [(0.8, 300, 3), (0.1, 300, 3), (0.002, 300, 5), (1e-6, 12345.6, 8)]
)
def test_coordinates_have_the_decimals_that_pixels_need(pixel: float, farthest: float, decimals: int) -> None:
    assert decimals_of(pixel, farthest) == decimals
    assert len(f"{-farthest:.{decimals}f}") <= 16


def test_coordinates_far_away_have_no_decimals() -> None:
    assert decimals_of(1, 1e20) == 0
