"""Names that lead nowhere are errors that say so; files that are no images by their names are skipped."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pytest

from tests.dataset.builder import write_dataset, write_image
from tests.dataset.dicom_builder import write_series
from umseg.common.errors import UserError
from umseg.dataset.check.problems import DatasetError
from umseg.dataset.dataset import load_dataset, survey_cases, survey_dataset
from umseg.dataset.io.images import read_image
from umseg.dataset.io.registry import format_of
from umseg.planning.fingerprint import extract_fingerprint

VALUES = np.random.default_rng(0).integers(1, 200, (8, 6, 7)).astype(np.int16)
NOWHERE = "/nowhere/.git/annex/objects/x"

links = pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")


def lose(path: Path) -> Path:
    """Put a link that leads nowhere in place of a file."""
    path.unlink(missing_ok=True)
    path.symlink_to(NOWHERE)
    return path


@links
@pytest.mark.parametrize("place", ["imagesTr/case_1_0000.nii.gz", "labelsTr/case_1.nii.gz"])
def test_a_training_case_whose_file_is_lost(tmp_path: Path, place: str) -> None:
    path = lose(write_dataset(tmp_path / "Dataset1") / place)
    dataset, problems = survey_dataset(tmp_path / "Dataset1")
    assert ([case.id for case in dataset.cases], problems) == (["case_0", "case_1", "case_2"], [])
    with pytest.raises(DatasetError, match="Case case_1: A link leads to a file that cannot be reached") as raised:
        extract_fingerprint(dataset, quiet=True)
    assert raised.value.file == str(path)
    assert NOWHERE in str(raised.value.found)
    assert "datalad get, git annex get, dvc pull" in str(raised.value.remedy)


@links
@pytest.mark.parametrize("place", ["imagesTr", "labelsTr", "dataset.json", "."])
def test_a_part_of_a_data_set_that_is_lost(tmp_path: Path, place: str) -> None:
    folder = write_dataset(tmp_path / "Dataset1")
    path = folder / place
    path.rename(tmp_path / "elsewhere")
    lose(path)
    with pytest.raises(UserError, match="A link leads to a file that cannot be reached") as raised:
        survey_dataset(folder)
    assert raised.value.file == str(path)


@links
def test_a_file_that_is_lost_after_planning_is_a_problem_of_its_case(tmp_path: Path) -> None:
    dataset, _ = survey_dataset(write_dataset(tmp_path / "Dataset1"))
    earlier = extract_fingerprint(dataset, quiet=True)
    for number in (0, 2):
        lose(tmp_path / "Dataset1" / "imagesTr" / f"case_{number}_0000.nii.gz")
    with pytest.raises(DatasetError) as raised:
        extract_fingerprint(dataset, quiet=True, earlier=earlier)
    assert [problem.case for problem in raised.value.problems] == ["case_0", "case_2"]


def test_a_folder_with_the_name_of_an_image(tmp_path: Path) -> None:
    write_image(tmp_path / "a_0000.nii.gz", VALUES)
    (tmp_path / "b_0000.nii.gz").mkdir()
    cases, problems = survey_cases([tmp_path], 1, ".nii.gz")
    assert ([case.id for case in cases], problems) == (["a", "b"], [])
    with pytest.raises(UserError, match="does not exist") as raised:
        read_image(cases[1].images)
    assert raised.value.found == "a folder"


@links
@pytest.mark.parametrize("name", ["IM0003.dcm", "IM0003"])
def test_no_slice_is_left_out(tmp_path: Path, name: str) -> None:
    for path in write_series(tmp_path / "scan", VALUES):
        path.rename(path.with_suffix(Path(name).suffix))
    lost = lose(tmp_path / "scan" / name)
    for act in (lambda: read_image([tmp_path / "scan"]), lambda: format_of(tmp_path / "scan").files(tmp_path / "scan")):
        with pytest.raises(UserError, match="A link leads to a file") as raised:
            act()
        assert raised.value.file == str(lost)
    cases, (problem,) = survey_cases([tmp_path], 1, ".nii.gz")
    assert (problem.case, problem.file) == ("scan", lost)
    assert [case.id for case in cases] == []


@links
def test_no_series_is_left_out(tmp_path: Path) -> None:
    write_series(tmp_path / "in" / "a", VALUES)
    lose(tmp_path / "in" / "b")
    cases, (problem,) = survey_cases([tmp_path / "in"], 1, ".nii.gz")
    assert ([case.id for case in cases], problem.case) == (["a"], "b")


@links
def test_links_that_go_round_in_circles(tmp_path: Path) -> None:
    loop = tmp_path / "a_0000.nii.gz"
    loop.symlink_to(loop)
    with pytest.raises(UserError, match="cannot be reached"):
        read_image([loop])
    with pytest.raises(UserError, match="cannot be reached"):
        survey_cases([loop], 1, ".nii.gz")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "Git LFS"),
        ("/annex/objects/MD5E-s27314--0b1d.nii.gz\n", "git-annex"),
    ],
)
def test_a_pointer_is_not_the_file(tmp_path: Path, text: str, name: str) -> None:
    (tmp_path / "a.nii.gz").write_text(text)
    with pytest.raises(UserError, match="only a pointer") as raised:
        read_image([tmp_path / "a.nii.gz"])
    assert raised.value.found == f"a pointer of {name}"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
def test_a_pipe_is_no_image(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.nii.gz")
    with pytest.raises(UserError, match="does not exist") as raised:
        read_image([tmp_path / "a.nii.gz"])
    assert raised.value.found == "a device or pipe"


@pytest.mark.parametrize(
    "name",
    [
        *("Thumbs.db", "desktop.ini", "README.md", "case_0_0000.nii.gz.md5", "case_0_0000.nii.gz~", "case_0_0000.json"),
        *("case_0_0000 (1).nii.gz", "case_0_0000 - Copy.nii.gz", "case_0_0000 copy 2.nii.gz"),
    ],
)
@pytest.mark.parametrize("place", ["imagesTr", "labelsTr"])
def test_stray_files_are_skipped(tmp_path: Path, name: str, place: str, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_dataset(tmp_path / "Dataset1", num_cases=2)
    name = name if place == "imagesTr" else name.replace("_0000", "")
    (folder / place / name).write_text("x")
    with caplog.at_level(logging.WARNING):
        dataset = load_dataset(folder)
    assert [case.id for case in dataset.cases] == ["case_0", "case_1"]
    (record,) = caplog.records
    assert name in record.getMessage()


@pytest.mark.parametrize("name", ["case_9_0000 (1).nii.gz", "case_9_0000.mha", "case_9_0000.png"])
def test_what_may_be_an_image_is_not_skipped(tmp_path: Path, name: str) -> None:
    folder = write_dataset(tmp_path / "Dataset1", num_cases=2)
    (folder / "imagesTr" / name).write_text("x")
    with pytest.raises(UserError):
        load_dataset(folder)
