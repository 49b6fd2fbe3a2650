from __future__ import annotations

import os
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
    return [pair.case for pair in find_pairs(predictions, reference, ending, names).scored]


def test_pairs_by_name_and_leaves_other_files_alone(folders: MakeFolders) -> None:
    predictions, reference = folders(
        ["b.nii.gz", "a.nii.gz", "a.npz", "metrics.json", "preview.png"],
        ["a.nii.gz", "b.nii.gz", ".tmp-1-c.nii.gz", "._a.nii.gz"],
    )
    pairs = find_pairs(predictions, reference).scored
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


def test_predictions_of_another_format(folders: MakeFolders) -> None:
    found = find_pairs(*folders(["a.mha", "b.nii", "a.png.txt"], ["a.nii.gz", "b.nii.gz"]))
    assert [pair.prediction.name for pair in found.scored] == ["a.mha", "b.nii"]
    assert found.missing == ()


def test_an_extra_prediction_of_another_format(folders: MakeFolders) -> None:
    with pytest.raises(UserError, match="1 predicted case has no label map in ref"):
        find_pairs(*folders(["a.mha", "b.mha"], ["a.nii.gz"]))


def test_two_predictions_of_a_case(folders: MakeFolders) -> None:
    two = folders(["a.mha", "a.nrrd", "b.nii.gz"], ["a.nii.gz", "b.nii.gz"])
    with pytest.raises(UserError, match="predictions of several formats") as caught:
        find_pairs(*two)
    assert caught.value.found == "a.mha, a.nrrd"


def test_second_copies_are_skipped(folders: MakeFolders, caplog: pytest.LogCaptureFixture) -> None:
    two = folders(["a.nii.gz", "a (1).nii.gz"], ["a.nii.gz", "a - Copy.nii.gz"])
    assert cases(*two, None, None) == ["a"]
    assert "a (1).nii.gz" in caplog.text
    assert "a - Copy.nii.gz" in caplog.text


def test_missing_predictions_are_left_out_or_scored_as_empty(
    folders: MakeFolders, caplog: pytest.LogCaptureFixture
) -> None:
    two = folders(["a.nii.gz", "c.nii.gz", "x.nii.gz"], [f"{case}.nii.gz" for case in "abcd"])
    skipped = find_pairs(*two, missing="skip")
    assert [pair.case for pair in skipped.scored] == ["a", "c"]
    assert (skipped.missing, skipped.surplus) == (("b", "d"), ("x",))
    assert "2 of 4 reference cases have no prediction and are not scored: b, d" in caplog.text
    assert "1 prediction has no reference: x" in caplog.text
    zero = find_pairs(*two, missing="zero")
    assert [(pair.case, pair.is_missing) for pair in zero.scored] == [
        ("a", False),
        ("b", True),
        ("c", False),
        ("d", True),
    ]
    assert zero.missing == ("b", "d")
    assert "no prediction and are scored as if nothing had been predicted" in caplog.text
    with pytest.raises(UserError, match="No reference case has a prediction"):
        find_pairs(*two, cases=["b"], missing="zero")
    with pytest.raises(UserError, match="Unknown rule for missing predictions 'ignore'"):
        find_pairs(*two, missing="ignore")  # type: ignore[arg-type]


def test_references_that_are_called_labels(folders: MakeFolders) -> None:
    predictions, reference = folders(["a.png", "b.png"], ["a_label.tiff", "b_label.tiff"])
    assert cases(predictions, reference, None, None) == ["a", "b"]
    assert cases(reference, reference, None, None) == ["a_label", "b_label"]


def test_a_single_reference_that_is_called_a_label_keeps_its_name(folders: MakeFolders) -> None:
    two = folders(["a_label.png", "b.png"], ["a_label.png", "b.png"])
    assert cases(*two, None, None) == ["a_label", "b"]


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_links_that_lead_nowhere_count(folders: MakeFolders) -> None:
    predictions, reference = folders(["a.nii.gz"], ["a.nii.gz"])
    for folder in (predictions, reference):
        (folder / "b.nii.gz").symlink_to("/nowhere/b.nii.gz")
    assert cases(predictions, reference, None, None) == ["a", "b"]
    (predictions / "b.nii.gz").unlink()
    with pytest.raises(UserError, match="1 reference case has no label map in pred"):
        cases(predictions, reference, None, None)
    (reference / "link").symlink_to("/nowhere")
    with pytest.raises(UserError, match="A link leads to a file that cannot be reached"):
        cases(predictions, reference / "link", None, None)


def test_names_with_commas_are_put_together_again(tmp_path: Path) -> None:
    for folder in ("p", "r"):
        (tmp_path / folder).mkdir()
        for name in ("a, b", "a", "c"):
            (tmp_path / folder / f"{name}.nii.gz").touch()
    for given, expected in (
        (["a", "b"], ["a, b"]),
        (["c", "a", "b", "a"], ["a", "a, b", "c"]),
        (["a", "c"], ["a", "c"]),
    ):
        pairs = find_pairs(tmp_path / "p", tmp_path / "r", ".nii.gz", given).scored
        assert [pair.case for pair in pairs] == expected
