from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.dataset.builder import LABELS, make_case, write_dataset, write_description, write_image
from umseg.common.errors import UserError
from umseg.dataset.dataset import Dataset, find_cases, load_dataset


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_cases_are_sorted_paired_and_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_dataset(tmp_path / "Dataset001_Toy", channel_names={"0": "CT", "1": "PET"})
    monkeypatch.chdir(tmp_path)
    dataset = load_dataset(Path("Dataset001_Toy"))
    assert dataset.name == "Dataset001_Toy"
    assert [case.id for case in dataset.cases] == ["case_0", "case_1", "case_2"]
    assert [path.name for path in dataset.cases[1].images] == ["case_1_0000.nii.gz", "case_1_0001.nii.gz"]
    assert dataset.cases[1].label == tmp_path / "Dataset001_Toy" / "labelsTr" / "case_1.nii.gz"
    assert all(path.is_absolute() for case in dataset.cases for path in case.images)


def test_dataset_survives_json(tmp_path: Path) -> None:
    dataset = load_dataset(write_dataset(tmp_path / "toy"))
    dataset.save(tmp_path / "dataset.json")
    assert Dataset.load(tmp_path / "dataset.json", "write it again") == dataset


def test_one_colour_file_holds_all_channels(tmp_path: Path) -> None:
    write_description(tmp_path, 1, channel_names={"0": "R", "1": "G", "2": "B"}, file_ending=".png")
    write_image(tmp_path / "imagesTr" / "a_0000.png", np.zeros((4, 5, 3), np.uint8), is_vector=True)
    write_image(tmp_path / "labelsTr" / "a.png", np.zeros((4, 5), np.uint8))
    assert len(load_dataset(tmp_path).cases[0].images) == 1


def test_hidden_files_are_no_cases(tmp_path: Path) -> None:
    write_dataset(tmp_path)
    touch(tmp_path / "imagesTr", ".DS_Store", "._case_0_0000.nii.gz")
    assert len(load_dataset(tmp_path).cases) == 3


def drop_description(folder: Path) -> None:
    (folder / "dataset.json").unlink()


def drop_images(folder: Path) -> None:
    shutil.rmtree(folder / "imagesTr")


def empty_images(folder: Path) -> None:
    drop_images(folder)
    (folder / "imagesTr").mkdir()


def drop_labels(folder: Path) -> None:
    shutil.rmtree(folder / "labelsTr")


def empty_labels(folder: Path) -> None:
    drop_labels(folder)
    (folder / "labelsTr").mkdir()


def drop_a_label(folder: Path) -> None:
    (folder / "labelsTr" / "case_1.nii.gz").unlink()


def drop_an_image(folder: Path) -> None:
    for path in (folder / "imagesTr").glob("case_1_*"):
        path.unlink()


def drop_a_channel(folder: Path) -> None:
    (folder / "imagesTr" / "case_1_0001.nii.gz").unlink()


def drop_the_first_channel(folder: Path) -> None:
    (folder / "imagesTr" / "case_1_0000.nii.gz").unlink()


def add_a_channel(folder: Path) -> None:
    touch(folder / "imagesTr", "case_1_0002.nii.gz")


def add_another_ending(folder: Path) -> None:
    touch(folder / "imagesTr", "case_9_0000.nrrd")


def add_another_label_ending(folder: Path) -> None:
    touch(folder / "labelsTr", "notes.txt")


def add_an_unnumbered_image(folder: Path) -> None:
    touch(folder / "imagesTr", "case_9.nii.gz")


def claim_more_cases(folder: Path) -> None:
    write_description(folder, 5, channel_names={"0": "CT", "1": "PET"})


@pytest.mark.parametrize(
    ("spoil", "message", "named"),
    [
        (shutil.rmtree, "does not exist", "folder"),
        (drop_description, "dataset.json does not exist", "dataset.json"),
        (drop_images, "imagesTr does not exist", "imagesTr"),
        (empty_images, "imagesTr is empty", "imagesTr"),
        (drop_labels, "labelsTr does not exist", "labelsTr"),
        (empty_labels, "labelsTr is empty", "labelsTr"),
        (drop_a_label, "1 training cases have no label", "case_1"),
        (drop_an_image, "1 label maps have no image", "case_1"),
        (drop_a_channel, "Case case_1 has the wrong number of channels", "case_1_0000.nii.gz"),
        (drop_the_first_channel, "Case case_1 has the wrong number of channels", "case_1_0001.nii.gz"),
        (add_a_channel, "Case case_1 has the wrong number of channels", "3 files"),
        (add_another_ending, "1 files in imagesTr have the wrong ending", "case_9_0000.nrrd"),
        (add_another_label_ending, "1 files in labelsTr have the wrong ending", "notes.txt"),
        (add_an_unnumbered_image, "1 image files have no channel number", "case_9.nii.gz"),
        (claim_more_cases, "number of training cases", "5 cases"),
    ],
)
def test_incomplete_dataset_is_refused(
    tmp_path: Path, spoil: Callable[[Path], object], message: str, named: str
) -> None:
    folder = write_dataset(tmp_path / "folder", channel_names={"0": "CT", "1": "PET"})
    spoil(folder)
    with pytest.raises(UserError, match=message) as raised:
        load_dataset(folder)
    assert named in str(raised.value)
    assert raised.value.remedy


def test_wrong_count_says_both_numbers(tmp_path: Path) -> None:
    write_dataset(tmp_path)
    write_description(tmp_path, 4, labels=LABELS)
    with pytest.raises(UserError) as raised:
        load_dataset(tmp_path)
    assert raised.value.found == "3 cases"
    assert str(raised.value.expected).startswith("4 cases")


def test_long_lists_are_cut_and_counted(tmp_path: Path) -> None:
    write_description(tmp_path, 30)
    touch(tmp_path / "imagesTr", *(f"c{n:02d}_0000.nii.gz" for n in range(30)))
    touch(tmp_path / "labelsTr", "c00.nii.gz")
    with pytest.raises(UserError, match="29 training cases") as raised:
        load_dataset(tmp_path)
    assert "c01, c02, c03, c04, c05 and 24 more" in str(raised.value)


class TestFindCases:
    def test_folder_of_channels(self, tmp_path: Path) -> None:
        touch(tmp_path, "b_0001.nii.gz", "b_0000.nii.gz", "a_0000.nii.gz", "a_0001.nii.gz")
        cases = find_cases(tmp_path, 2, ".nii.gz")
        assert [case.id for case in cases] == ["a", "b"]
        assert [path.name for path in cases[1].images] == ["b_0000.nii.gz", "b_0001.nii.gz"]
        assert cases[0].label is None

    def test_plain_names_with_one_channel(self, tmp_path: Path) -> None:
        touch(tmp_path, "a.nii.gz", "b_0000.nii.gz")
        assert [case.id for case in find_cases(tmp_path, 1, ".nii.gz")] == ["a", "b"]

    def test_numbers_that_are_no_channels(self, tmp_path: Path) -> None:
        touch(tmp_path, "scan_0007.nii.gz", "scan_0008.nii.gz")
        assert [case.id for case in find_cases(tmp_path, 1, ".nii.gz")] == ["scan_0007", "scan_0008"]

    def test_one_file(self, tmp_path: Path) -> None:
        touch(tmp_path, "a_0000.nii.gz", "b_0000.nii.gz", "c.nii.gz")
        assert [case.id for case in find_cases(tmp_path / "a_0000.nii.gz", 1, ".nii.gz")] == ["a"]
        assert [case.id for case in find_cases(tmp_path / "c.nii.gz", 1, ".nii.gz")] == ["c"]

    def test_one_file_of_several_channels_brings_the_others(self, tmp_path: Path) -> None:
        touch(tmp_path, "a_0000.nii.gz", "a_0001.nii.gz", "b_0000.nii.gz")
        (case,) = find_cases(tmp_path / "a_0000.nii.gz", 2, ".nii.gz")
        assert [path.name for path in case.images] == ["a_0000.nii.gz", "a_0001.nii.gz"]

    @pytest.mark.parametrize("name", ["a.png", "a_0000.png"])
    def test_colour_file(self, tmp_path: Path, name: str) -> None:
        write_image(tmp_path / name, np.zeros((4, 5, 3), np.uint8), is_vector=True)
        (case,) = find_cases(tmp_path, 3, ".png")
        assert (case.id, len(case.images)) == ("a", 1)

    def test_wrong_number_of_channels(self, tmp_path: Path) -> None:
        write_image(tmp_path / "a_0000.nii.gz", make_case(0)[0])
        with pytest.raises(UserError, match="Case a has the wrong number of channels") as raised:
            find_cases(tmp_path, 2, ".nii.gz")
        assert "1 files" in str(raised.value.found)
        assert "2 channel files" in str(raised.value.expected)

    def test_surplus_channel(self, tmp_path: Path) -> None:
        touch(tmp_path, "a_0000.nii.gz", "a_0001.nii.gz")
        with pytest.raises(UserError, match="Case a has the wrong number of channels"):
            find_cases(tmp_path, 1, ".nii.gz")

    def test_two_files_for_one_case(self, tmp_path: Path) -> None:
        touch(tmp_path, "a_0000.nii.gz", "a.nii.gz")
        with pytest.raises(UserError, match="Two files claim the case a"):
            find_cases(tmp_path, 1, ".nii.gz")

    def test_other_files_are_skipped_with_a_warning(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        touch(tmp_path, "a_0000.nii.gz", "notes.txt")
        assert len(find_cases(tmp_path, 1, ".nii.gz")) == 1
        assert "notes.txt" in caplog.text

    @pytest.mark.parametrize("ending", [".png", ".nrrd"])
    def test_no_file_of_the_right_ending(self, tmp_path: Path, ending: str) -> None:
        touch(tmp_path, "a_0000.nii.gz")
        with pytest.raises(UserError, match="wrong ending"):
            find_cases(tmp_path, 1, ending)
        with pytest.raises(UserError, match="another format"):
            find_cases(tmp_path / "a_0000.nii.gz", 1, ending)

    def test_nothing_there(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="does not exist"):
            find_cases(tmp_path / "missing", 1, ".nii.gz")
        with pytest.raises(UserError, match="is empty"):
            find_cases(tmp_path, 1, ".nii.gz")
