from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.dataset.builder import LABELS, make_case, write_dataset, write_description, write_image
from umseg.common.errors import UserError
from umseg.dataset.check.problems import DatasetError
from umseg.dataset.dataset import Dataset, find_cases, load_dataset, survey_dataset


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
    touch(folder / "labelsTr", "notes.mha")


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
        (drop_a_label, "Case case_1: A training case has no label", "case_1"),
        (drop_an_image, "A label map has no image", "case_1"),
        (drop_a_channel, "Case case_1: The case has the wrong number of channels", "case_1_0000.nii.gz"),
        (drop_the_first_channel, "Case case_1: The case has the wrong number of channels", "case_1_0001.nii.gz"),
        (add_a_channel, "Case case_1: The case has the wrong number of channels", "3 files"),
        (add_another_ending, "A file in imagesTr has the wrong ending", "case_9_0000.nrrd"),
        (add_another_label_ending, "A file in labelsTr has the wrong ending", "notes.mha"),
        (add_an_unnumbered_image, "An image file has no channel number", "case_9.nii.gz"),
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


def test_every_case_with_a_problem_is_told(tmp_path: Path) -> None:
    write_description(tmp_path, 30)
    touch(tmp_path / "imagesTr", *(f"c{n:02d}_0000.nii.gz" for n in range(30)))
    touch(tmp_path / "labelsTr", "c00.nii.gz")
    with pytest.raises(DatasetError, match="29 errors in 29 cases") as raised:
        load_dataset(tmp_path)
    assert [problem.case for problem in raised.value.problems] == [f"c{n:02d}" for n in range(1, 30)]
    assert len(str(raised.value).splitlines()) < 15


def test_what_can_be_checked_is_kept_beside_the_problems(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path, num_cases=6, channel_names={"0": "CT", "1": "PET"})
    drop_a_channel(folder)
    (folder / "labelsTr" / "case_2.nii.gz").unlink()
    for path in (folder / "imagesTr").glob("case_3_*"):
        path.unlink()
    add_an_unnumbered_image(folder)
    add_another_label_ending(folder)
    dataset, problems = survey_dataset(folder)
    assert [case.id for case in dataset.cases] == ["case_0", "case_4", "case_5"]
    assert {(problem.case, problem.problem) for problem in problems} == {
        ("case_1", "The case has the wrong number of channels."),
        ("case_2", "A training case has no label map."),
        ("case_3", "A label map has no image."),
        ("", "An image file has no channel number."),
        ("", "A file in labelsTr has the wrong ending."),
        ("", "The number of training cases is not what dataset.json says."),
    }
    assert all(problem.remedy and problem.expected and problem.found for problem in problems)


def test_picture_with_transparency_may_hold_three_channels(tmp_path: Path) -> None:
    write_description(tmp_path, 1, channel_names={"0": "R", "1": "G", "2": "B"}, file_ending=".png")
    write_image(tmp_path / "imagesTr" / "a_0000.png", np.zeros((4, 5, 4), np.uint8), is_vector=True)
    write_image(tmp_path / "labelsTr" / "a.png", np.zeros((4, 5), np.uint8))
    assert len(load_dataset(tmp_path).cases) == 1


class TestFileMap:
    def write(self, folder: Path, entries: object, num_training: int = 1) -> Path:
        channels = {"0": "CT", "1": "PET"}
        write_description(folder, num_training, dataset=entries, channel_names=channels)
        return folder

    def test_files_may_lie_anywhere(self, tmp_path: Path) -> None:
        touch(tmp_path / "toy" / "mine", "ct.nii.gz", "pet.nii.gz")
        touch(tmp_path / "elsewhere", "seg.nii.gz")
        entries = {
            "b": {"images": ["mine/ct.nii.gz", "mine/pet.nii.gz"], "label": "../elsewhere/seg.nii.gz", "note": "x"},
            "a": {
                "images": [str(tmp_path / "toy/mine/ct.nii.gz")] * 2,
                "label": str(tmp_path / "elsewhere/seg.nii.gz"),
            },
        }
        dataset = load_dataset(self.write(tmp_path / "toy", entries, num_training=2))
        assert [case.id for case in dataset.cases] == ["a", "b"]
        mapped = dataset.cases[1]
        assert [path.name for path in mapped.images] == ["ct.nii.gz", "pet.nii.gz"]
        assert mapped.label is not None
        assert all(path.is_absolute() and path.is_file() for path in (*mapped.images, mapped.label))

    def test_problems_of_all_cases_are_told(self, tmp_path: Path) -> None:
        touch(tmp_path, "ct.nii.gz", "pet.nii.gz", "seg.nii.gz")
        images = ["ct.nii.gz", "pet.nii.gz"]
        entries = {
            "good": {"images": images, "label": "seg.nii.gz"},
            "no_label": {"images": images, "label": "gone.nii.gz"},
            "no_image": {"images": ["ct.nii.gz", "gone.nii.gz"], "label": "seg.nii.gz"},
            "too_many": {"images": [*images, "ct.nii.gz"], "label": "seg.nii.gz"},
        }
        dataset, problems = survey_dataset(self.write(tmp_path, entries, num_training=5))
        assert [case.id for case in dataset.cases] == ["good"]
        assert [(problem.case, problem.file.name) for problem in problems] == [
            ("no_image", "gone.nii.gz"),
            ("no_label", "gone.nii.gz"),
            ("too_many", "ct.nii.gz"),
            ("", "dataset.json"),
        ]

    @pytest.mark.parametrize("name", ["../x", "a/b", "a\\b", "", ".hidden", "C:x"])
    def test_ids_that_lead_out_of_the_workspace_are_refused(self, tmp_path: Path, name: str) -> None:
        touch(tmp_path, "ct.nii.gz", "seg.nii.gz")
        entries = {name: {"images": ["ct.nii.gz"] * 2, "label": "seg.nii.gz"}}
        with pytest.raises(UserError, match="field 'dataset'"):
            load_dataset(self.write(tmp_path, entries))

    @pytest.mark.parametrize("entries", [{}, [], {"a": {"images": [], "label": "x"}}, {"a": {"images": ["x"]}}])
    def test_incomplete_maps_are_refused(self, tmp_path: Path, entries: object) -> None:
        with pytest.raises(UserError, match="field 'dataset"):
            load_dataset(self.write(tmp_path, entries))


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
        with pytest.raises(UserError, match="Case a: The case has the wrong number of channels") as raised:
            find_cases(tmp_path, 2, ".nii.gz")
        assert "1 file of 1 channel" in str(raised.value.found)
        assert "2 channel files" in str(raised.value.expected)

    def test_surplus_channel(self, tmp_path: Path) -> None:
        touch(tmp_path, "a_0000.nii.gz", "a_0001.nii.gz")
        with pytest.raises(UserError, match="Case a: The case has the wrong number of channels"):
            find_cases(tmp_path, 1, ".nii.gz")

    def test_two_files_for_one_case(self, tmp_path: Path) -> None:
        touch(tmp_path, "a_0000.nii.gz", "a.nii.gz")
        with pytest.raises(UserError, match="Two files claim the case a"):
            find_cases(tmp_path, 1, ".nii.gz")

    def test_other_files_are_skipped_with_a_warning(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        touch(tmp_path, "a_0000.nii.gz", "notes.mha")
        assert len(find_cases(tmp_path, 1, ".nii.gz")) == 1
        assert "notes.mha" in caplog.text

    @pytest.mark.parametrize("ending", [".png", ".nrrd"])
    def test_no_file_of_the_right_ending(self, tmp_path: Path, ending: str) -> None:
        touch(tmp_path, "a_0000.nii.gz")
        with pytest.raises(UserError, match="no image that the model can segment"):
            find_cases(tmp_path, 1, ending)
        with pytest.raises(UserError, match="another format"):
            find_cases(tmp_path / "a_0000.nii.gz", 1, ending)

    def test_nothing_there(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="does not exist"):
            find_cases(tmp_path / "missing", 1, ".nii.gz")
        with pytest.raises(UserError, match="no image that the model can segment"):
            find_cases(tmp_path, 1, ".nii.gz")
