"""The input of a prediction: what is said where there is no image, and single files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image as pillow
import pytest

from tests.dataset.builder import write_image
from tests.dataset.dicom_builder import write_series
from umseg.common.errors import UserError
from umseg.dataset.inputs import find_all_inputs, find_inputs
from umseg.dataset.naming import Grouped

VOXELS = np.ones((4, 5, 6), np.int16)


def test_what_is_there_is_told_where_there_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "patient").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UserError, match="no image that the model can segment") as raised:
        find_inputs(tmp_path, 1, ".nii.gz")
    assert raised.value.found == "notes.txt, patient"
    assert raised.value.expected == "files ending in .nii.gz or folders of DICOM slices"
    with pytest.raises(UserError, match="no image") as raised:
        find_inputs(tmp_path / "patient", 1, ".dcm")
    assert (raised.value.found, raised.value.expected) == ("an empty folder", "folders of DICOM slices")


def test_a_file_of_another_format(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.mha", VOXELS)
    with pytest.raises(UserError, match="another format") as raised:
        find_inputs(path, 1, ".nii.gz")
    assert raised.value.file == str(path)


def test_an_input_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        find_inputs(tmp_path / "a.nii.gz", 1, ".nii.gz")


def test_other_channels_of_a_single_file(tmp_path: Path) -> None:
    paths = [write_image(tmp_path / f"a_{channel:04d}.nii.gz", VOXELS) for channel in range(2)]
    assert find_inputs(paths[0], 2, ".nii.gz") == ({"a": tuple(paths)}, [])


@pytest.mark.parametrize("file_ending", [".dcm", ".nii.gz"])
def test_a_single_slice(tmp_path: Path, file_ending: str) -> None:
    (path,) = write_series(tmp_path, VOXELS[:1])
    assert find_inputs(path, 1, file_ending) == ({path.stem: (path,)}, [])


def test_folders_below_are_named(tmp_path: Path) -> None:
    for place in ("p1/baseline", "p2/baseline", "p2/notes"):
        (tmp_path / place).mkdir(parents=True)
    for patient in ("p1", "p2"):
        write_image(tmp_path / patient / "baseline" / f"{patient}_t1.nii.gz", VOXELS)
    with pytest.raises(UserError, match="has no images itself") as raised:
        find_inputs(tmp_path, 1, ".nii.gz")
    first, second = (str(Path(patient, "baseline")) for patient in ("p1", "p2"))
    assert raised.value.found == f"2 folders below with files ending in .nii.gz: {first}, {second}"


def test_several_inputs_and_patterns(tmp_path: Path) -> None:
    paths = [write_image(tmp_path / name / f"{name}_t1.nii.gz", VOXELS) for name in ("p1", "p2")]
    expected: Grouped = ({"p1_t1": (paths[0],), "p2_t1": (paths[1],)}, [])
    assert find_all_inputs([tmp_path / "p1", paths[1]], 1, ".nii.gz") == expected
    assert find_all_inputs([tmp_path / "*" / "*_t1.nii.gz"], 1, ".nii.gz") == expected
    with pytest.raises(UserError, match="does not exist"):
        find_all_inputs([tmp_path / "*.mha"], 1, ".nii.gz")


def test_two_inputs_of_one_name(tmp_path: Path) -> None:
    for patient in ("p1", "p2"):
        write_image(tmp_path / patient / "t1.nii.gz", VOXELS)
    other = write_image(tmp_path / "p2" / "t2.nii.gz", VOXELS)
    cases, (problem,) = find_all_inputs([tmp_path / "p1", tmp_path / "p2"], 1, ".nii.gz")
    assert cases == {"t2": (other,)}
    assert problem.problem == "Two inputs claim the case t1."


def test_numbers_of_colour_pictures_are_no_channels(tmp_path: Path) -> None:
    """As data sets come: slide_0001.png, slide_0002.png, each with all three channels."""
    colours = np.zeros((5, 6, 3), np.uint8)
    paths = [tmp_path / f"slide_{number:04d}.png" for number in (1, 2, 7)]
    for path in paths:
        pillow.fromarray(colours).save(path)
    found, problems = find_inputs(tmp_path, 3, ".png")
    assert found == {path.stem: (path,) for path in paths}
    assert problems == []
    assert find_inputs(paths[1], 3, ".png") == ({"slide_0002": (paths[1],)}, [])
    grey = tmp_path / "grey"
    grey.mkdir()
    for number in (1, 2):
        pillow.fromarray(colours[..., 0]).save(grey / f"slide_{number:04d}.png")
    cases, (problem,) = find_inputs(grey, 3, ".png")
    assert cases == {}
    assert problem.found == "2 files: slide_0001.png, slide_0002.png"
    assert "or one file with all 3 channels" in str(problem.expected)
