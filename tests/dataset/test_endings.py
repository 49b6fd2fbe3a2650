"""Endings in capitals, and the other endings of a format."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from tests.dataset.builder import write_image
from umseg.dataset.check.problems import DatasetError
from umseg.dataset.dataset import find_cases, load_dataset
from umseg.dataset.io.images import read_image, read_label
from umseg.dataset.io.registry import format_with_ending


def write_set(folder: Path, names: dict[str, str], ending: str) -> Path:
    """A data set of these cases, each with its own ending."""
    for kind, suffix in (("imagesTr", "_0000"), ("labelsTr", "")):
        content = write_image(folder / kind / "a.nii", np.zeros((2, 3, 4), np.uint8)).read_bytes()
        (folder / kind / "a.nii").unlink()
        for name, own in names.items():
            packed = gzip.compress(content) if own.lower().endswith(".gz") else content
            (folder / kind / f"{name}{suffix}{own}").write_bytes(packed)
    description = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "a": 1}, "numTraining": len(names)}
    (folder / "dataset.json").write_text(json.dumps({**description, "file_ending": ending}))
    return folder


@pytest.mark.parametrize("ending", [".nii.gz", ".NII.GZ", ".nii"])
def test_all_endings_of_a_format_count(tmp_path: Path, ending: str) -> None:
    names = {"a": ".nii.gz", "b": ".NII.GZ", "c": ".Nii.gz", "d": ".nii", "x.nii": ".nii.gz", "e.1": ".NII"}
    dataset = load_dataset(write_set(tmp_path / "set", names, ending))
    assert [case.id for case in dataset.cases] == sorted(names)
    for case in dataset.cases:
        assert case.label is not None
        assert read_label(case.label).array.shape == read_image(case.images).array.shape[1:]


def test_two_files_of_one_case_are_an_error(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", {"a": ".nii.gz", "b": ".nii"}, ".nii.gz")
    for file in ("imagesTr/b_0000", "labelsTr/b"):
        (folder / f"{file}.NII.GZ").write_bytes(gzip.compress((folder / f"{file}.nii").read_bytes()))
    with pytest.raises(DatasetError) as raised:
        load_dataset(folder)
    assert [problem.problem for problem in raised.value.problems] == ["Two files claim the case b."] * 2


def test_prediction_finds_the_same_cases(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", {"a": ".nii.gz", "b": ".NII.GZ", "c": ".nii"}, ".nii.gz") / "imagesTr"
    assert [case.id for case in find_cases(folder, 1, ".nii.gz")] == ["a", "b", "c"]
    assert [case.id for case in find_cases(folder / "b_0000.NII.GZ", 1, ".nii.gz")] == ["b"]
    (folder / "a_0001.nii").write_bytes((folder / "c_0000.nii").read_bytes())
    (case,) = find_cases(folder / "a_0000.nii.gz", 2, ".nii.gz")
    assert [path.name for path in case.images] == ["a_0000.nii.gz", "a_0001.nii"]


def test_a_longer_ending_has_to_be_there(tmp_path: Path) -> None:
    for name in ("a.t1.nii.gz", "b.T1.NII", "c.nii.gz", "d.t2.nii.gz"):
        (tmp_path / name).touch()
    entry = format_with_ending(".t1.nii.gz")
    assert [path.name for path in entry.images_in(tmp_path, ".t1.nii.gz")] == ["a.t1.nii.gz", "b.T1.NII"]
    assert entry.stem("b.T1.NII", ".t1.nii.gz") == "b"
