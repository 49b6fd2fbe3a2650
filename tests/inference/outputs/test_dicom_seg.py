"""DICOM segmentations: read by highdicom and by umseg they give the label map, on the grid of the series."""

# highdicom is not typed strictly.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.uid import UID, EnhancedCTImageStorage

from tests.dataset.builder import write_image
from tests.dataset.dicom_builder import PATIENT, enhanced_groups, write_series, write_slice
from tests.inference.outputs.dicom.series import (
    FRAME_OF_REFERENCE,
    OBLIQUE,
    STRAIGHT,
    describe,
    make_labels,
    places,
    read_again,
    segment,
)
from umseg.common.errors import UserError
from umseg.dataset.io.images import read_label
from umseg.inference.outputs.case_output import SegmentedCase
from umseg.inference.outputs.dicom_seg import DicomSegOutput

OUTPUT = DicomSegOutput("umamba_enc 3d_fullres")


def write(result: SegmentedCase, folder: Path) -> Path:
    OUTPUT.write(result, folder)
    (path,) = OUTPUT.files(result.case, folder)
    return path


def read(path: Path) -> highdicom.seg.Segmentation:
    return highdicom.seg.segread(path)


def volume(path: Path) -> tuple[NDArray[np.integer], NDArray[np.float64]]:
    """The labels, and the matrix from their indices to mm."""
    found = read(path).get_volume(combine_segments=True)
    return found.array, found.affine


@pytest.mark.parametrize("axes", [*STRAIGHT, *OBLIQUE])
def test_labels_lie_where_the_series_has_them(tmp_path: Path, axes: NDArray[np.float64]) -> None:
    labels = make_labels()
    path = write(segment(tmp_path / "case", labels, axes=axes), tmp_path)
    values, affine = volume(path)
    indices = (places(labels.shape, axes) - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
    np.testing.assert_allclose(indices, np.rint(indices), atol=1e-3)
    found = values[tuple(np.moveaxis(np.rint(indices).astype(int), -1, 0))]
    np.testing.assert_array_equal(found, labels)


@pytest.mark.parametrize("axes", [STRAIGHT[0], STRAIGHT[5], OBLIQUE[17]])
def test_umseg_reads_the_same_labels_on_the_same_grid(tmp_path: Path, axes: NDArray[np.float64]) -> None:
    result = segment(tmp_path / "case", make_labels(), axes=axes)
    again = read_label(write(result, tmp_path))
    np.testing.assert_array_equal(again.array, result.label_map)
    assert again.geometry.size == result.geometry.size
    for field in ("spacing", "origin", "direction"):
        np.testing.assert_allclose(getattr(again.geometry, field), getattr(result.geometry, field), atol=1e-6)


def test_slices_refer_to_the_images_that_they_lie_on(tmp_path: Path) -> None:
    seg = read(write(segment(tmp_path / "case", make_labels()), tmp_path))
    images = {item.SOPInstanceUID: item for item in map(pydicom.dcmread, (tmp_path / "case").iterdir())}
    assert len(seg.PerFrameFunctionalGroupsSequence) == len(images) == 4
    for item in seg.PerFrameFunctionalGroupsSequence:
        source = item.DerivationImageSequence[0].SourceImageSequence[0]
        image = images[source.ReferencedSOPInstanceUID]
        assert source.ReferencedSOPClassUID == image.SOPClassUID
        assert "ReferencedFrameNumber" not in source
        assert item.PlanePositionSequence[0].ImagePositionPatient == image.ImagePositionPatient
    (series,) = seg.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == next(iter(images.values())).SeriesInstanceUID
    assert {item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence} == set(images)


def test_frames_of_an_enhanced_file_are_named_by_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "enhanced.dcm"
    labels = make_labels()
    groups: dict[str, Any] = {**enhanced_groups([30, 35, 32.5, 37.5], [(1, 0)] * 4)}
    write_slice(
        path, labels, kind=EnhancedCTImageStorage, spacing=None, placed=False, NumberOfFrames=len(labels), **groups
    )
    seg = read(write(read_again(path), tmp_path))
    sources = [item.DerivationImageSequence[0].SourceImageSequence[0] for item in seg.PerFrameFunctionalGroupsSequence]
    assert [item.ReferencedFrameNumber for item in sources] == [1, 3, 2, 4]
    np.testing.assert_array_equal(seg.pixel_array, labels[[0, 2, 1, 3]])
    assert len(seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == 1


def test_patient_and_examination_are_those_of_the_series(tmp_path: Path) -> None:
    seg = read(write(segment(tmp_path / "case", make_labels()), tmp_path))
    assert [str(seg[name].value) for name in ("PatientName", "PatientID", "PatientBirthDate")] == [*PATIENT]
    assert seg.StudyInstanceUID == "1.2.826.0.1.4"
    assert seg.FrameOfReferenceUID == FRAME_OF_REFERENCE
    assert seg.SeriesInstanceUID != "1.2.826.0.1.5"
    for name in ("SOPInstanceUID", "SeriesInstanceUID"):
        assert UID(seg[name].value).is_valid


def test_text_of_any_encoding_is_written_as_unicode(tmp_path: Path) -> None:
    content = write_slice(tmp_path / "case" / "a.dcm", make_labels()[0], SpecificCharacterSet="ISO_IR 144")
    content.PatientName = "Иванов^Пётр"
    pydicom.dcmwrite(tmp_path / "case" / "a.dcm", content)
    description = describe({"background": 0, "großes Herz \\ cœur": 1, "ж": 2, "x" * 100: 3})
    seg = read(write(read_again(tmp_path / "case", description), tmp_path))
    assert seg.PatientName == "Иванов^Пётр"
    assert list(seg.segment_numbers) == [1, 2, 3]
    names = [seg.get_segment_description(number).segment_label for number in (1, 2, 3)]
    assert names == ["großes Herz   cœur", "ж", "x" * 64]


def test_segments_state_class_colour_and_algorithm(tmp_path: Path) -> None:
    seg = read(write(segment(tmp_path / "case", make_labels()), tmp_path))
    assert seg.SegmentationType == "LABELMAP"
    segment_2 = seg.get_segment_description(2)
    assert segment_2.segment_label == "left kidney"
    assert segment_2.segmented_property_category.meaning == "Anatomical Structure"
    assert segment_2.SegmentationAlgorithmIdentificationSequence[0].AlgorithmName == "umseg umamba_enc 3d_fullres"
    # Matplotlib's orange; the conversion of highdicom is another one.
    colour = highdicom.color.CIELabColor.from_dicom_value(segment_2.RecommendedDisplayCIELabValue)
    np.testing.assert_allclose(colour.to_rgb(), (255, 127, 14), atol=2)


@pytest.mark.parametrize(("highest", "bits"), [(255, 8), (256, 16)])
def test_many_classes(tmp_path: Path, highest: int, bits: int) -> None:
    description = describe({"background": 0, **{f"class {value}": value for value in range(1, highest + 1)}})
    result = segment(tmp_path / "case", make_labels((3, 11, 21), highest), description)
    path = write(result, tmp_path)
    assert read(path).BitsAllocated == bits
    np.testing.assert_array_equal(volume(path)[0][::-1], result.label_map)
    again = read_label(path).array
    np.testing.assert_array_equal(again, result.label_map)


def test_an_odd_number_of_pixels_without_any_label(tmp_path: Path) -> None:
    result = segment(tmp_path / "case", np.zeros((3, 5, 7), np.int16))
    path = write(result, tmp_path)
    assert path.stat().st_size % 2 == 0
    assert not read_label(path).array.any()
    assert pydicom.dcmread(path).NumberOfFrames == 3


def test_regions_are_named_by_the_value_that_is_written_for_them(tmp_path: Path) -> None:
    description = describe({"background": 0, "whole": [1, 2], "core": [2]}, regions_class_order=(1, 2))
    seg = read(write(segment(tmp_path / "case", make_labels(highest=2), description), tmp_path))
    assert [seg.get_segment_description(number).segment_label for number in (1, 2)] == ["whole", "core"]


def test_objects_are_numbered(tmp_path: Path) -> None:
    description = describe({"background": 0, "nucleus": 1}, task="instance")
    labels = make_labels() * 5
    seg = read(write(segment(tmp_path / "case", labels, description), tmp_path))
    assert [item.SegmentLabel for item in seg.SegmentSequence] == [
        "Background",
        "nucleus 5",
        "nucleus 10",
        "nucleus 15",
    ]


def test_a_series_without_identifiers_is_written_without_references(tmp_path: Path) -> None:
    write_slice(tmp_path / "case" / "a.dcm", make_labels()[0], SeriesInstanceUID=None)
    path = write(read_again(tmp_path / "case"), tmp_path)
    seg = pydicom.dcmread(path)
    assert "ReferencedSeriesSequence" not in seg
    assert UID(seg.StudyInstanceUID).is_valid
    assert UID(seg.FrameOfReferenceUID).is_valid
    np.testing.assert_array_equal(read_label(path).array[0], make_labels()[0])


class TestRefusal:
    def test_other_formats_before_anything_is_computed(self, tmp_path: Path) -> None:
        write_image(tmp_path / "a.nii.gz", make_labels())
        with pytest.raises(UserError, match="only be written for DICOM images") as error:
            OUTPUT.files(read_again(tmp_path / "a.nii.gz").case, tmp_path)
        assert "NIfTI" in str(error.value)

    def test_images_without_a_place_in_space(self, tmp_path: Path) -> None:
        write_slice(tmp_path / "case" / "a.dcm", make_labels()[0], placed=False)
        with pytest.raises(UserError, match="have a place in space"):
            OUTPUT.files(read_again(tmp_path / "case").case, tmp_path)

    def test_a_series_that_has_grown(self, tmp_path: Path) -> None:
        result = segment(tmp_path / "case", make_labels())
        write_series(tmp_path / "case", make_labels()[:1], (0.5, 0.75, 2.0), (10.0, -20.0, 38.0), first=4)
        with pytest.raises(UserError, match="was changed"):
            OUTPUT.write(result, tmp_path)

    def test_labels_beyond_16_bits(self, tmp_path: Path) -> None:
        result = segment(tmp_path / "case", make_labels(), describe({"background": 0, "cell": 1}, task="instance"))
        many = replace(result, label_map=result.label_map.astype(np.uint32) * 30000)
        with pytest.raises(UserError, match="too large"):
            OUTPUT.write(many, tmp_path)
        assert not list(tmp_path.glob("*.dcm"))

    def test_a_folder_that_cannot_be_written(self, tmp_path: Path) -> None:
        result = segment(tmp_path / "case", make_labels())
        (tmp_path / "out").write_text("")
        with pytest.raises(UserError, match="cannot be written"):
            OUTPUT.write(result, tmp_path / "out")

    def test_a_full_disk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        class Full:
            def compress(self, part: bytes) -> bytes:
                raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("zlib.compressobj", lambda *options: Full())
        with pytest.raises(UserError, match="disk is full"):
            OUTPUT.write(segment(tmp_path / "case", make_labels()), tmp_path / "out")
        assert list((tmp_path / "out").iterdir()) == []
