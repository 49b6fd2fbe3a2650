from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

import pytest

from umseg.common.errors import UserError
from umseg.evaluation.pairs import find_pairs

MakeFolders = Callable[[list[str], list[str]], tuple[Path, Path]]


@pytest.fixture
def folders(tmp_path: Path) -> MakeFolders:
    def make(predictions: list[str], reference: list[str]) -> tuple[Path, Path]:
        result = tmp_path / "pred", tmp_path / "ref"
        for folder, names in zip(result, (predictions, reference), strict=True):
            folder.mkdir(exist_ok=True)
            for name in names:
                (folder / name).touch()
        return result

    return make


def cases(predictions: Path, reference: Path, ending: str | None, names: Collection[str] | None) -> list[str]:
    return [pair.case for pair in find_pairs(predictions, reference, ending, names)[0]]


def test_pairs_by_name_and_leaves_other_files_alone(folders: MakeFolders) -> None:
    predictions, reference = folders(
        ["b.nii.gz", "a.nii.gz", "a.npz", "metrics.json", "preview.png"],
        ["a.nii.gz", "b.nii.gz", ".tmp-1-c.nii.gz", "._a.nii.gz"],
    )
    pairs, _ = find_pairs(predictions, reference)
    assert [(pair.case, pair.prediction.name) for pair in pairs] == [("a", "a.nii.gz"), ("b", "b.nii.gz")]
    assert all(pair.reference == reference / pair.prediction.name for pair in pairs)


@pytest.mark.parametrize(
    ("predictions", "reference", "where", "missing"),
    [
        (["a.nii"], ["a.nii", "b.nii", "c.nii"], "pred", "b.nii, c.nii"),
        (["a.nii", "b.nii"], ["a.nii"], "ref", "b.nii"),
    ],
)
def test_a_missing_file_is_never_skipped(
    folders: MakeFolders, predictions: list[str], reference: list[str], where: str, missing: str
) -> None:
    with pytest.raises(UserError) as caught:
        find_pairs(*folders(predictions, reference), None, None)
    assert str(caught.value.file).endswith(where)
    assert caught.value.found == f"no {missing}"


def test_many_missing_files_are_shortened(folders: MakeFolders) -> None:
    names = [f"case_{i:02d}.nii" for i in range(30)]
    with pytest.raises(UserError, match="29 reference cases have no label map") as caught:
        find_pairs(*folders(names[:1], names), None, None)
    assert str(caught.value.found).endswith("case_05.nii and 24 more")


def test_wanted_cases(folders: MakeFolders) -> None:
    names = [f"{case}.nii.gz" for case in "abcd"]
    two = folders(names[:3], names)
    assert cases(*two, None, ["c", "a"]) == ["a", "c"]
    with pytest.raises(UserError, match="1 case of --cases has no label map in ref"):
        cases(*two, None, ["a", "x"])
    with pytest.raises(UserError, match="1 reference case has no label map in pred"):
        cases(*two, None, ["a", "d"])
    with pytest.raises(UserError, match="names no case"):
        cases(*two, None, [])


def test_file_ending(folders: MakeFolders) -> None:
    two = folders(["a.nii.gz", "a.mha"], ["a.nii.gz", "b.mha", "a.mha", "b.nii.gz"])
    with pytest.raises(UserError, match="mixes label maps of several formats") as caught:
        cases(*two, None, None)
    assert caught.value.found == ".mha, .nii.gz"
    assert cases(*two, ".nii.gz", ["a"]) == cases(*two, "nii.gz", ["a"]) == ["a"]
    with pytest.raises(UserError, match="has no label maps"):
        cases(*two, ".png", None)


def test_folders_that_cannot_be_right(folders: MakeFolders, tmp_path: Path) -> None:
    predictions, reference = folders(["a.nii"], ["notes.txt"])
    with pytest.raises(UserError, match="has no label maps"):
        cases(predictions, reference, None, None)
    with pytest.raises(UserError, match="does not exist"):
        cases(predictions, tmp_path / "nowhere", None, None)
    with pytest.raises(UserError, match="does not exist") as caught:
        cases(predictions, predictions / "a.nii", None, None)
    assert caught.value.found == "a file"
