"""What derived objects repeat of a series, and what they refer to."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
import pytest

from tests.dataset.dicom_builder import write_slice
from tests.inference.outputs.dicom.series import make_labels, segment
from umseg.common.errors import UserError
from umseg.dataset.io.images import read_geometry
from umseg.inference.outputs.dicom.source import SourceSeries, read_source, require_series


def read(folder: Path) -> SourceSeries:
    return read_source(folder, read_geometry(folder))


def test_images_stand_in_the_order_of_planes(tmp_path: Path) -> None:
    segment(tmp_path / "case", make_labels())
    slices = read(tmp_path / "case").slices
    heights = [image.grid.origin[2] for image in slices]
    assert len(heights) == 4
    assert heights == sorted(heights)
    assert {image.kind for image in slices} == {pydicom.uid.CTImageStorage}
    assert [image.instance for image in slices] == [f"1.2.826.0.1.5.{number}" for number in (1, 2, 3, 4)]


def test_what_a_series_does_not_state_is_empty_or_new(tmp_path: Path) -> None:
    write_slice(tmp_path / "case" / "a.dcm", make_labels()[0], PatientName=None)
    identity = read(tmp_path / "case").identity
    assert identity.PatientName == identity.AccessionNumber == ""
    assert "StudyDescription" not in identity
    assert identity.StudyInstanceUID.is_valid
    assert identity.FrameOfReferenceUID.is_valid
    assert identity.StudyInstanceUID != identity.FrameOfReferenceUID


def test_values_that_are_not_valid_are_copied_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "case" / "a.dcm"
    content = write_slice(path, make_labels()[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content.PatientID, content.StudyDate, content.PatientSex = "x" * 90, "1.2.2020", "unknown"
        content.PatientName = "A" * 70
        pydicom.dcmwrite(path, content)
    identity = read(tmp_path / "case").identity
    assert (identity.PatientID, identity.StudyDate, identity.PatientSex) == ("x" * 90, "1.2.2020", "unknown")
    assert identity.PatientName == "A" * 70


def test_the_size_of_pixels_is_the_one_that_was_segmented(tmp_path: Path) -> None:
    segment(tmp_path / "case", make_labels())
    corrected = replace(read_geometry(tmp_path / "case"), spacing=(0.7, 0.7, 2.0))
    assert read_source(tmp_path / "case", corrected).geometry == corrected


@pytest.mark.parametrize("change", [{"spacing": (0.5, 0.75, 2.5)}, {"origin": (0, 0, 0)}, {"size": (9, 8, 4)}])
def test_another_grid_than_the_one_that_was_segmented_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    segment(tmp_path / "case", make_labels())
    with pytest.raises(UserError, match="was changed"):
        read_source(tmp_path / "case", replace(read_geometry(tmp_path / "case"), **change))


def test_reports_beside_the_slices_are_no_images(tmp_path: Path) -> None:
    result = segment(tmp_path / "case", make_labels())
    write_slice(tmp_path / "case" / "AA.dcm", make_labels()[0], kind=pydicom.uid.BasicTextSRStorage)
    assert require_series(result.case, "A DICOM segmentation") == tmp_path / "case"
    assert len(read(tmp_path / "case").slices) == 4


def test_a_damaged_slice_is_reported(tmp_path: Path) -> None:
    result = segment(tmp_path / "case", make_labels())
    (tmp_path / "case" / "IM0001.dcm").write_bytes(b"\0" * 200)
    with pytest.raises(UserError, match="is damaged"):
        require_series(result.case, "A DICOM segmentation")
