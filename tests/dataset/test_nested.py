"""Images in folders within folders: what becomes a case, and what is left out."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from tests.dataset.builder import write_image
from tests.dataset.dicom_builder import write_series
from umseg.common.errors import UserError
from umseg.dataset.nested import survey_nested

VOXELS = np.zeros((3, 4, 5), np.float32)


def find(
    *inputs: Path, ending: str = ".nii.gz", channels: int = 1, skipped: tuple[str, ...] = ()
) -> tuple[list[str], list[str]]:
    """The names of cases, and those of cases with problems."""
    cases, problems = survey_nested(inputs, channels, ending, lambda folder: folder.name in skipped)
    return [str(place / case.id) for place, case in cases], [problem.case for problem in problems]


def test_cases_keep_the_folder_in_their_names(tmp_path: Path) -> None:
    for name in ("top", "p1/ct", "p2/ct", "p2/deep/er/mr"):
        write_image(tmp_path / f"{name}_0000.nii.gz", VOXELS)
    assert find(tmp_path) == (["top", "p1/ct", "p2/ct", "p2/deep/er/mr"], [])
    cases, _ = survey_nested([tmp_path], 1, ".nii.gz", lambda _: False)
    assert cases[1][0] == PurePosixPath("p1")
    assert cases[1][1].images == (tmp_path / "p1" / "ct_0000.nii.gz",)


def test_a_file_is_a_case_of_its_own(tmp_path: Path) -> None:
    path = write_image(tmp_path / "p1" / "ct_0000.nii.gz", VOXELS)
    assert find(path) == (["ct"], [])
    assert find(tmp_path / "*" / "ct_*.nii.gz") == (["ct"], [])


def test_channels_are_grouped_within_a_folder(tmp_path: Path) -> None:
    for name in ("p1/a_0000", "p1/a_0001", "p2/a_0000"):
        write_image(tmp_path / f"{name}.nii.gz", VOXELS)
    assert find(tmp_path, channels=2) == (["p1/a"], ["p2/a"])


def test_series_of_dicom_are_not_searched(tmp_path: Path) -> None:
    for name in ("p1/ct", "p2/study/ct", "p2/study/mr"):
        write_series(tmp_path / name, VOXELS.astype(np.int16))
    assert find(tmp_path) == (["p1/ct", "p2/study/ct", "p2/study/mr"], [])
    assert find(tmp_path / "p1" / "ct") == (["ct"], [])


def test_folders_are_left_out(tmp_path: Path) -> None:
    for name in ("p1/a", "out/a", "p2/out/a", ".hidden/a"):
        write_image(tmp_path / f"{name}_0000.nii.gz", VOXELS)
    assert find(tmp_path, skipped=("out",)) == (["p1/a"], [])


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    write_image(tmp_path / "p1" / "a_0000.nii.gz", VOXELS)
    (tmp_path / "p1" / "up").symlink_to(tmp_path, target_is_directory=True)
    assert find(tmp_path) == (["p1/a"], [])


def test_two_inputs_may_not_have_a_case_in_common(tmp_path: Path) -> None:
    for name in ("one/p1/a", "two/p1/a", "two/p1/b"):
        write_image(tmp_path / f"{name}_0000.nii.gz", VOXELS)
    assert find(tmp_path / "one", tmp_path / "two") == (["p1/b"], ["p1/a"])
    assert find(tmp_path / "one", tmp_path / "one") == (["p1/a"], [])


def test_a_folder_that_cannot_be_used_stops_no_other(tmp_path: Path) -> None:
    write_image(tmp_path / "p1" / "a_0000.nii.gz", VOXELS)
    write_series(tmp_path / "p2" / "ct", VOXELS.astype(np.int16))
    (tmp_path / "p2" / "loose.dcm").write_bytes(b"")
    assert find(tmp_path) == (["p1/a"], ["p2"])


@pytest.mark.skipif(os.name == "nt", reason="no such names on Windows")
def test_names_of_folders_are_checked(tmp_path: Path) -> None:
    write_image(tmp_path / "p1" / "a_0000.nii.gz", VOXELS)
    write_image(tmp_path / "line\nbreak" / "a_0000.nii.gz", VOXELS)
    assert find(tmp_path) == (["p1/a"], ["line\nbreak"])


def test_without_images_the_message_is_that_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "p1").mkdir()
    with pytest.raises(UserError, match="has no image"):
        find(tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        find(tmp_path / "nothing")
