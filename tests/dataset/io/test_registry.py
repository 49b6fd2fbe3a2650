"""Which files belong to an image file, and that all who ask are told the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from tests.dataset.builder import make_case, write_description, write_image
from umseg.dataset.dataset import find_cases, survey_dataset
from umseg.dataset.io.registry import companions


@pytest.mark.parametrize(("name", "packed", "voxels"), [("a.mhd", False, "a.raw"), ("a.nhdr", True, "a.raw.gz")])
def test_voxels_beside_a_header(tmp_path: Path, name: str, packed: bool, voxels: str) -> None:
    sitk.WriteImage(sitk.Image(4, 5, 6, sitk.sitkInt16), str(tmp_path / name), packed)
    assert companions(tmp_path / name) == [tmp_path / voxels]


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd", "a.nii.gz", "a.png"])
def test_files_that_hold_all_they_need(tmp_path: Path, name: str) -> None:
    shape = (5, 6) if name == "a.png" else (4, 5, 6)
    (tmp_path / "a.json").write_text("{}")
    assert companions(write_image(tmp_path / name, np.zeros(shape, np.uint8))) == []


def test_json_files_of_a_stack(tmp_path: Path) -> None:
    for name in ("a.json", "a_0000.json", "b.json", "a_0000.tif"):
        (tmp_path / name).write_text("{}")
    assert companions(tmp_path / "a_0000.tif") == [tmp_path / "a_0000.json", tmp_path / "a.json"]


@pytest.mark.parametrize("content", ["", "ElementDataFile = ../x.raw\n", "NDims = 3\nElementDataFile = x.raw\n"])
def test_a_header_that_is_refused_has_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.mhd").write_text(content)
    assert companions(tmp_path / "a.mhd") == []


def test_they_are_no_strange_files_in_a_data_set(tmp_path: Path) -> None:
    write_description(tmp_path, 1, file_ending=".mhd")
    for place, name, array in zip(("imagesTr", "labelsTr"), ("a_0000", "a"), make_case(0), strict=True):
        (tmp_path / place).mkdir()
        sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / place / f"{name}.mhd"))
    dataset, problems = survey_dataset(tmp_path)
    assert ([case.id for case in dataset.cases], problems) == (["a"], [])
    assert [case.id for case in find_cases(tmp_path / "imagesTr", 1, ".mhd")] == ["a"]
    (tmp_path / "imagesTr" / "b.raw").write_bytes(b"x")
    assert [problem.found for problem in survey_dataset(tmp_path)[1]] == ["b.raw"]
