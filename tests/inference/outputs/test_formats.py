"""``--format``: endings of label maps and DICOM objects beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.dataset.builder import write_image
from tests.inference.outputs.dicom.series import OBLIQUE, describe, make_labels, read_again, segment
from umseg.common.errors import UserError
from umseg.dataset.io.grid import placement_difference
from umseg.dataset.io.images import read_image, read_label
from umseg.inference.outputs.case_output import SegmentedCase
from umseg.inference.outputs.dicom_seg import DicomSegOutput
from umseg.inference.outputs.formats import Formats, LabelFileOutput, parse_formats
from umseg.inference.outputs.rtstruct import RtstructOutput


def test_endings_and_objects_are_told_apart() -> None:
    formats = parse_formats(" dicom-seg, .NRRD,nii.gz,nrrd,rtstruct")
    assert formats == Formats((".nrrd", ".nii.gz"), ("dicom-seg", "rtstruct"))
    assert formats.outputs("m") == (LabelFileOutput(".nii.gz"), DicomSegOutput("m"), RtstructOutput("m"))


@pytest.mark.parametrize(("text", "ending"), [("mha", ".mha"), ("mha,nrrd", ".mha"), ("dicom-seg", ".nii.gz")])
def test_the_first_ending_is_that_of_the_label_map(tmp_path: Path, text: str, ending: str) -> None:
    case = segment(tmp_path / "case", make_labels()).case
    assert parse_formats(text).label_ending(case, ".png") == ending


@pytest.mark.parametrize("text", ["", " , "])
def test_no_format(text: str) -> None:
    with pytest.raises(UserError, match="names no format"):
        parse_formats(text)


def test_unknown_and_lossy_formats_are_refused() -> None:
    with pytest.raises(UserError, match="Unknown format 'dicom-sec'") as error:
        parse_formats("nii.gz,dicom-sec")
    assert "dicom-seg" in str(error.value.remedy)
    with pytest.raises(UserError, match="Unknown format 'jpg'"):
        parse_formats("jpg")


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("axes", OBLIQUE[::5])
def test_label_maps_of_any_format_lie_on_the_grid(tmp_path: Path, ending: str, axes: np.ndarray) -> None:
    result = segment(tmp_path / "case", make_labels(), axes=axes)
    output = LabelFileOutput(ending)
    output.write(result, tmp_path)
    (path,) = output.files(result.case, tmp_path)
    assert path.name == f"case{ending}"
    again = read_label(path)
    np.testing.assert_array_equal(again.array, result.label_map)
    np.testing.assert_allclose(again.geometry.spacing, result.geometry.spacing, rtol=1e-5)
    assert placement_difference(again.geometry, result.geometry) is None


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_a_picture_can_get_a_label_map_of_another_format(tmp_path: Path, ending: str) -> None:
    write_image(tmp_path / "a.png", make_labels()[0].astype(np.uint8))
    result = read_again(tmp_path / "a.png", describe())
    LabelFileOutput(ending).write(result, tmp_path)
    np.testing.assert_array_equal(read_label(tmp_path / f"a{ending}").array, result.label_map)


def test_a_nifti_image_keeps_its_place_in_other_formats(tmp_path: Path) -> None:
    write_image(tmp_path / "a.nii.gz", make_labels(), (0.5, 0.75, 2.0), (10.0, -20.0, 30.0))
    image = read_image([tmp_path / "a.nii.gz"])
    result = SegmentedCase(
        read_again(tmp_path / "a.nii.gz").case,
        image.array[0].astype(np.uint8),
        image.geometry,
        describe(),
        lambda: image.array,
    )
    for ending in (".nrrd", ".mha"):
        LabelFileOutput(ending).write(result, tmp_path)
        again = read_label(tmp_path / f"a{ending}").geometry
        np.testing.assert_allclose(again.origin, (10, -20, 30), rtol=1e-5)
        assert placement_difference(again, image.geometry) is None
