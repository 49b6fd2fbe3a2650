"""The table of formats: which one a file has, which files belong to it, and formats of other packages."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray

from tests.dataset.builder import make_case, write_description, write_image
from umseg.common import registry as common_registry
from umseg.common.errors import UserError
from umseg.dataset.dataset import Case, find_cases, survey_dataset
from umseg.dataset.io.images import read_image, read_label, write_label
from umseg.dataset.io.registry import (
    FORMATS,
    UNKNOWN,
    companions,
    format_of,
    format_with_ending,
    label_endings,
    picture_endings,
)


@pytest.fixture
def add_format(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Declare an entry point of an installed package."""
    declared: list[EntryPoint] = []
    entries = dict(FORMATS._entries)
    monkeypatch.setattr(common_registry, "entry_points", lambda group: [e for e in declared if e.group == group])

    def add(value: str) -> None:
        declared.append(EntryPoint("npz", f"tests.dataset.npz_format:{value}", "umseg.formats"))
        FORMATS.__dict__.pop("_plugins", None)

    yield add
    FORMATS.__dict__.pop("_plugins", None)
    FORMATS._entries = entries


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.nii.gz", "nifti"),
        ("a.NII", "nifti"),
        ("a.mha", "metaimage"),
        ("a.nhdr", "nrrd"),
        ("a.png", "png"),
        ("a.bmp", "bmp"),
        ("a.ome.tif", "tiff"),
        ("a.jpeg", "jpeg"),
        ("a.dcm", "dicom"),
    ],
)
def test_files_by_their_names(tmp_path: Path, name: str, expected: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    assert format_of(tmp_path / name) is FORMATS[expected]
    assert format_with_ending(Path(name).suffix) in (FORMATS[expected], UNKNOWN)


@pytest.mark.parametrize("name", ["a.gz", "a.img", "a", "dcm", "tif"])
def test_other_files_have_no_format(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    assert format_of(tmp_path / name) is UNKNOWN
    assert format_of(tmp_path) is UNKNOWN
    assert format_with_ending(f".{name}x") is UNKNOWN


def test_endings_of_label_maps_and_pictures() -> None:
    assert not {".jpg", ".dcm"} & set(label_endings())
    assert {".nii.gz", ".mha", ".nrrd", ".png", ".tif"} < set(label_endings())
    assert set(picture_endings()) == {".png", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg"}


def test_libraries_are_imported_only_for_files_of_their_formats(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.mha", np.zeros((4, 5, 6), np.uint8))
    code = f"""
import sys
from pathlib import Path
from umseg.dataset import load_dataset, read_image
libraries = {{"SimpleITK", "nibabel", "tifffile", "pydicom"}}
print(sorted(libraries & set(sys.modules)))
read_image([Path({str(path)!r})])
print(sorted(libraries & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # MetaImage files need none of them.
    assert done.stdout.splitlines() == ["[]", "[]"]


class TestCompanions:
    @pytest.mark.parametrize(("name", "packed", "voxels"), [("a.mhd", False, "a.raw"), ("a.nhdr", True, "a.raw.gz")])
    def test_voxels_beside_a_header(self, tmp_path: Path, name: str, packed: bool, voxels: str) -> None:
        sitk.WriteImage(sitk.Image(4, 5, 6, sitk.sitkInt16), str(tmp_path / name), packed)
        assert companions(tmp_path / name) == [tmp_path / voxels]

    @pytest.mark.parametrize("name", ["a.mha", "a.nrrd", "a.nii.gz", "a.png"])
    def test_files_that_hold_all_they_need(self, tmp_path: Path, name: str) -> None:
        shape = (5, 6) if name == "a.png" else (4, 5, 6)
        (tmp_path / "a.json").write_text("{}")
        assert companions(write_image(tmp_path / name, np.zeros(shape, np.uint8))) == []

    def test_json_files_of_a_stack(self, tmp_path: Path) -> None:
        for name in ("a.json", "a_0000.json", "b.json", "a_0000.tif"):
            (tmp_path / name).write_text("{}")
        assert companions(tmp_path / "a_0000.tif") == [tmp_path / "a_0000.json", tmp_path / "a.json"]

    @pytest.mark.parametrize("content", ["", "ElementDataFile = ../x.raw\n", "NDims = 3\nElementDataFile = x.raw\n"])
    def test_a_header_that_is_refused_has_none(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "a.mhd").write_text(content)
        assert companions(tmp_path / "a.mhd") == []

    def test_they_are_no_strange_files_in_a_data_set(self, tmp_path: Path) -> None:
        write_description(tmp_path, 1, file_ending=".mhd")
        arrays: tuple[NDArray[Any], ...] = make_case(0)
        for place, name, array in zip(("imagesTr", "labelsTr"), ("a_0000", "a"), arrays, strict=True):
            (tmp_path / place).mkdir()
            sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / place / f"{name}.mhd"))
        dataset, problems = survey_dataset(tmp_path)
        assert ([case.id for case in dataset.cases], problems) == (["a"], [])
        assert [case.id for case in find_cases(tmp_path / "imagesTr", 1, ".mhd")] == ["a"]
        (tmp_path / "imagesTr" / "b.raw").write_bytes(b"x")
        assert [problem.found for problem in survey_dataset(tmp_path)[1]] == ["b.raw"]


def test_jpeg_images_have_png_label_maps(tmp_path: Path) -> None:
    write_description(tmp_path, 1, file_ending=".jpg")
    values = np.random.default_rng(0).integers(0, 2, (7, 9)).astype(np.uint8)
    write_image(tmp_path / "imagesTr" / "a_0000.jpg", values)
    write_image(tmp_path / "labelsTr" / "a.png", values)
    dataset, problems = survey_dataset(tmp_path)
    assert problems == []
    (case,) = dataset.cases
    assert case.label_ending(".jpg") == ".png"


class TestFormatOfAnotherPackage:
    def test_images_and_label_maps(self, tmp_path: Path, add_format: Callable[[str], None]) -> None:
        image, label = make_case(0)
        np.savez(tmp_path / "a.npz", voxels=image, spacing=(0.5, 0.75, 2.0))
        with pytest.raises(UserError, match="neither read nor written"):
            read_image([tmp_path / "a.npz"])
        add_format("FORMAT")
        read = read_image([tmp_path / "a.npz"])
        np.testing.assert_array_equal(read.array[0], image)
        assert read.spacing == (2.0, 0.75, 0.5)
        write_label(tmp_path / "b.npz", label, read.geometry)
        np.testing.assert_array_equal(read_label(tmp_path / "b.npz").array, label)
        assert ".npz" in label_endings()
        assert Case(id="a", images=(tmp_path / "a.npz",)).label_ending(".npz") == ".npz"
        (tmp_path / "a.npz").write_bytes(b"PK")
        with pytest.raises(UserError, match="damaged"):
            read_image([tmp_path / "a.npz"])

    def test_label_maps_in_another_format(self, tmp_path: Path, add_format: Callable[[str], None]) -> None:
        add_format("WITH_NIFTI_LABELS")
        write_description(tmp_path, 1, file_ending=".npz")
        image, label = make_case(0)
        (tmp_path / "imagesTr").mkdir()
        np.savez(tmp_path / "imagesTr" / "a_0000.npz", voxels=image, spacing=(1, 1, 1))
        write_image(tmp_path / "labelsTr" / "a.nii.gz", label)
        dataset, problems = survey_dataset(tmp_path)
        assert ([case.id for case in dataset.cases], problems) == (["a"], [])
        (case,) = find_cases(tmp_path / "imagesTr", 1, ".npz")
        assert case.label_ending(".npz") == ".nii.gz"
        assert ".npz" not in label_endings()

    def test_what_is_no_format_is_refused(self, tmp_path: Path, add_format: Callable[[str], None]) -> None:
        add_format("NOT_A_FORMAT")
        with pytest.raises(UserError, match="file format 'npz' is of the wrong type"):
            format_of(tmp_path / "a.npz")
