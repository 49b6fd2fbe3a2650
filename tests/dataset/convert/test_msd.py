from __future__ import annotations

import gzip
import json
import logging
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.dataset.builder import names_in
from umseg.common.errors import UserError
from umseg.dataset import load_dataset, read_image, read_label
from umseg.dataset.check.problems import DatasetError
from umseg.dataset.convert.msd import convert_msd

AFFINE = np.array([[0.0, -1.5, 0, 10], [2.0, 0, 0, -20], [0, 0, 3.0, 5], [0, 0, 0, 1]])
SHAPE = (5, 6, 4)


def save(path: Path, array: NDArray[Any], scaling: tuple[float, float] | None = None) -> Path:
    """Write stored numbers as they are, under a turned affine."""
    image = nibabel.Nifti1Image(array, AFFINE, dtype=array.dtype)
    if scaling:
        image.header.set_slope_inter(*scaling)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)
    return path


def write_task(folder: Path, channels: int = 1, **fields: object) -> Path:
    """A task with the training cases a, b and the test case t; macOS has left its files."""
    random = np.random.default_rng(0)
    shape = SHAPE if channels == 1 else (*SHAPE, channels)
    for name in ("imagesTr/a", "imagesTr/b", "imagesTs/t"):
        save(folder / f"{name}.nii.gz", random.integers(-99, 999, shape).astype(np.int16), (0.5, -3.0))
    for name in ("a", "b"):
        save(folder / "labelsTr" / f"{name}.nii.gz", random.integers(0, 3, SHAPE).astype(np.uint8))
    for hidden in ("imagesTr/._a.nii.gz", "labelsTr/._a.nii.gz", "imagesTs/._t.nii.gz"):
        (folder / hidden).write_bytes(b"\0\5\x16\7Mac OS X")
    content: dict[str, object] = {
        "name": "Toy",
        "licence": "CC-BY-SA 4.0",
        "tensorImageSize": "4D" if channels > 1 else "3D",
        "modality": {"0": "CT"} if channels == 1 else {str(c): f"m{c}" for c in reversed(range(channels))},
        "labels": {"0": "Background", "2": "tumour", "1": "liver"},
        "numTraining": 2,
        "training": [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in ("a", "b")],
        "test": ["./imagesTs/t.nii.gz"],
        **fields,
    }
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_one_channel_is_copied_byte_for_byte(tmp_path: Path) -> None:
    source = write_task(tmp_path / "Task01_Toy")
    made = convert_msd(source, tmp_path / "Dataset001_Toy", quiet=True)
    assert made == tmp_path / "Dataset001_Toy"
    assert files(made) == [
        "dataset.json",
        "imagesTr/a_0000.nii.gz",
        "imagesTr/b_0000.nii.gz",
        "imagesTs/t_0000.nii.gz",
        "labelsTr/a.nii.gz",
        "labelsTr/b.nii.gz",
    ]
    for old, new in (("imagesTr/a", "imagesTr/a_0000"), ("imagesTs/t", "imagesTs/t_0000"), ("labelsTr/b",) * 2):
        assert (made / f"{new}.nii.gz").read_bytes() == (source / f"{old}.nii.gz").read_bytes()
        assert (made / f"{new}.nii.gz").stat().st_ino != (source / f"{old}.nii.gz").stat().st_ino
    assert names_in(tmp_path) == ["Dataset001_Toy", "Task01_Toy"]


def test_description(tmp_path: Path) -> None:
    made = convert_msd(write_task(tmp_path / "t"), tmp_path / "d", quiet=True)
    description = load_dataset(made).description
    assert description.channel_names == {"0": "CT"}
    assert description.labels == {"background": 0, "liver": 1, "tumour": 2}
    assert description.numTraining == 2
    assert json.loads((made / "dataset.json").read_text())["licence"] == "CC-BY-SA 4.0"


@pytest.mark.parametrize("workers", [0, 2])
def test_channels_are_split(tmp_path: Path, workers: int) -> None:
    source = write_task(tmp_path / "t", channels=3)
    made = convert_msd(source, tmp_path / "d", workers=workers, quiet=True)
    dataset = load_dataset(made)
    assert dataset.description.channel_names == {"0": "m0", "1": "m1", "2": "m2"}
    assert [path.name for path in dataset.cases[0].images] == [f"a_000{c}.nii.gz" for c in range(3)]
    whole: Any = nibabel.load(source / "imagesTr" / "a.nii.gz")
    for channel, path in enumerate(dataset.cases[0].images):
        part: Any = nibabel.load(path)
        assert part.shape == SHAPE
        assert part.get_data_dtype() == np.int16
        assert (part.dataobj.slope, part.dataobj.inter) == (0.5, -3.0)
        np.testing.assert_array_equal(part.dataobj.get_unscaled(), whole.dataobj.get_unscaled()[..., channel])
        np.testing.assert_array_equal(part.affine, whole.affine)
        assert part.header.get_zooms() == whole.header.get_zooms()[:3]
    image, label = read_image(dataset.cases[0].images), read_label(made / "labelsTr" / "a.nii.gz")
    np.testing.assert_array_equal(image.array, np.moveaxis(whole.get_fdata(), -1, 0).transpose(0, 3, 2, 1))
    assert image.geometry == label.geometry


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.float64])
def test_types_survive_splitting(tmp_path: Path, dtype: type[np.generic]) -> None:
    source = write_task(tmp_path / "t", channels=2)
    values = np.random.default_rng(1).integers(0, 200, (*SHAPE, 2)).astype(dtype)
    save(source / "imagesTr" / "b.nii.gz", values)
    part: Any = nibabel.load(convert_msd(source, tmp_path / "d", quiet=True) / "imagesTr" / "b_0001.nii.gz")
    assert part.get_data_dtype() == dtype
    np.testing.assert_array_equal(np.asarray(part.dataobj), values[..., 1])


def test_fourth_axis_of_one_channel_goes(tmp_path: Path) -> None:
    source = write_task(tmp_path / "t")
    for name in ("imagesTr/a", "labelsTr/a"):
        save(source / f"{name}.nii.gz", np.ones((*SHAPE, 1), np.int16))
    made = convert_msd(source, tmp_path / "d", quiet=True)
    assert read_image([made / "imagesTr" / "a_0000.nii.gz"]).array.shape == (1, *reversed(SHAPE))
    assert read_label(made / "labelsTr" / "a.nii.gz").array.shape == tuple(reversed(SHAPE))


def test_unpacked_files_are_packed(tmp_path: Path) -> None:
    source = write_task(tmp_path / "t", training=[{"image": "imagesTr/n.nii", "label": "labelsTr/a.nii.gz"}])
    save(source / "imagesTr" / "n.nii", np.ones(SHAPE, np.float32))
    packed = convert_msd(source, tmp_path / "d", quiet=True) / "imagesTr" / "n_0000.nii.gz"
    assert gzip.decompress(packed.read_bytes()) == (source / "imagesTr" / "n.nii").read_bytes()


def test_listed_hidden_files_are_left_out(tmp_path: Path) -> None:
    pairs = [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in ("a", "._a", "b")]
    source = write_task(tmp_path / "t", training=pairs, test=["./imagesTs/._t.nii.gz", "./imagesTs/t.nii.gz"])
    made = convert_msd(source, tmp_path / "d", quiet=True)
    assert len(load_dataset(made).cases) == 2
    assert names_in(made / "imagesTs") == ["t_0000.nii.gz"]


def test_no_test_images(tmp_path: Path) -> None:
    assert not (convert_msd(write_task(tmp_path / "t", test=[]), tmp_path / "d", quiet=True) / "imagesTs").exists()


def test_surplus_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = write_task(tmp_path / "t", numTraining=3)
    save(source / "imagesTr" / "c.nii.gz", np.zeros(SHAPE, np.int16))
    with caplog.at_level(logging.WARNING):
        convert_msd(source, tmp_path / "d", quiet=True)
    assert "dataset.json does not list are left out: c.nii.gz" in caplog.text
    assert "numTraining is 3, but 2 training cases are listed" in caplog.text


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("labels", {"0": "background", "1": "a", "3": "b"}, "without a gap"),
        ("labels", {"0": "background", "1": "a", "2": "a"}, "'a' twice"),
        ("labels", {"0": "none", "1": "background"}, "'background' twice"),
        ("labels", {"background": "0", "a": "1"}, "label values and names"),
        ("labels", {"0": "background"}, "at least one label"),
        ("modality", {"0": "CT", "2": "PET"}, "numbered '0' to '1'"),
        ("modality", {}, "at least 1"),
        ("training", [], "at least one training case"),
        ("training", ["imagesTr/a.nii.gz"], "dictionary"),
    ],
)
def test_wrong_description(tmp_path: Path, field: str, value: Any, expected: str) -> None:
    source = write_task(tmp_path / "t", **{field: value})
    with pytest.raises(UserError, match=f"field '{field}") as error:
        convert_msd(source, tmp_path / "d", quiet=True)
    assert expected in str(error.value.expected)
    assert not (tmp_path / "d").exists()


def test_no_description(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dataset\.json does not exist"):
        convert_msd(tmp_path, tmp_path / "d", quiet=True)


def remove(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def garble(path: Path) -> None:
    path.write_bytes(b"no image" * 100)


def fourth_axis(path: Path) -> None:
    save(path, np.ones((*SHAPE, 2), np.int16))


def fifth_axis(path: Path) -> None:
    save(path, np.ones((*SHAPE, 1, 2), np.int16))


def another_size(path: Path) -> None:
    save(path, np.ones((5, 6, 3), np.int16))


@pytest.mark.parametrize(
    ("file", "spoil", "problem"),
    [
        ("imagesTr/a", remove, "does not exist"),
        ("labelsTr/a", remove, "does not exist"),
        ("imagesTs/t", remove, "does not exist"),
        ("imagesTr/a", truncate, "damaged"),
        ("labelsTr/a", truncate, "damaged"),
        ("imagesTs/t", empty, "damaged"),
        ("imagesTr/a", garble, "damaged"),
        ("imagesTr/a", fourth_axis, "wrong number of channels"),
        ("labelsTr/a", fourth_axis, "wrong number of channels"),
        ("imagesTr/a", fifth_axis, "neither a 3-D image nor a 4-D image"),
        ("labelsTr/a", another_size, "differ in shape"),
    ],
)
def test_spoilt_file(tmp_path: Path, file: str, spoil: Callable[[Path], None], problem: str) -> None:
    source = write_task(tmp_path / "t")
    spoil(source / f"{file}.nii.gz")
    with pytest.raises(DatasetError, match=problem) as error:
        convert_msd(source, tmp_path / "d", quiet=True)
    (only,) = error.value.problems
    assert only.file == source / f"{file}.nii.gz"
    assert only.remedy
    assert names_in(tmp_path) == ["t"]


def test_number_of_channels_is_named(tmp_path: Path) -> None:
    source = write_task(tmp_path / "t", channels=3)
    save(source / "imagesTr" / "b.nii.gz", np.ones(SHAPE, np.int16))
    with pytest.raises(DatasetError) as error:
        convert_msd(source, tmp_path / "d", quiet=True)
    (only,) = error.value.problems
    assert (only.case, only.found, only.expected) == ("b", "1 (size 5 x 6 x 4)", "3")


@pytest.mark.parametrize("entry", ["../secret.nii.gz", "/tmp/x.nii.gz", "imagesTr/../../x.nii.gz", "C:\\x.nii.gz"])
@pytest.mark.parametrize("where", ["image", "label", "test"])
def test_paths_stay_in_the_folder(tmp_path: Path, entry: str, where: str) -> None:
    save(tmp_path / "secret.nii.gz", np.ones(SHAPE, np.int16))
    pair = {"image": "imagesTr/a.nii.gz", "label": "labelsTr/a.nii.gz"}
    test = [entry] if where == "test" else []
    source = write_task(tmp_path / "t", training=[{**pair, where: entry} if where != "test" else pair], test=test)
    with pytest.raises(DatasetError, match="outside of the data set") as error:
        convert_msd(source, tmp_path / "d", quiet=True)
    assert error.value.found == entry
    assert not (tmp_path / "d").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="links need permission there")
@pytest.mark.parametrize("folder", [False, True])
def test_links_out_of_the_folder_are_not_followed(tmp_path: Path, folder: bool) -> None:
    source = write_task(tmp_path / "t")
    if folder:
        (source / "imagesTr").rename(tmp_path / "elsewhere")
        (source / "imagesTr").symlink_to(tmp_path / "elsewhere")
    else:
        (source / "imagesTr" / "a.nii.gz").rename(tmp_path / "elsewhere")
        (source / "imagesTr" / "a.nii.gz").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DatasetError, match="outside of the data set") as error:
        convert_msd(source, tmp_path / "d", quiet=True)
    assert "a link to" in str(error.value)
    assert not (tmp_path / "d").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="links need permission there")
def test_links_within_the_folder_are_followed(tmp_path: Path) -> None:
    write_task(tmp_path / "t")
    (tmp_path / "t" / "objects").mkdir()
    (tmp_path / "t" / "imagesTr" / "a.nii.gz").rename(tmp_path / "t" / "objects" / "1")
    (tmp_path / "t" / "imagesTr" / "a.nii.gz").symlink_to(Path("..") / "objects" / "1")
    (tmp_path / "link").symlink_to(tmp_path / "t")
    assert (convert_msd(tmp_path / "link", tmp_path / "d", quiet=True) / "imagesTr" / "a_0000.nii.gz").is_file()


def test_all_problems_are_reported_together(tmp_path: Path) -> None:
    pairs = [{"image": f"imagesTr/{n}.nii.gz", "label": f"labelsTr/{n}.nii.gz"} for n in ("a", "b", "a")]
    source = write_task(tmp_path / "t", training=[*pairs, {"image": "../x.nii.gz", "label": "y"}], test=["t.mha"])
    truncate(source / "imagesTr" / "a.nii.gz")
    another_size(source / "labelsTr" / "a.nii.gz")
    remove(source / "labelsTr" / "b.nii.gz")
    with pytest.raises(DatasetError) as error:
        convert_msd(source, tmp_path / "d", quiet=True)
    assert sorted(problem.problem.split(".")[0] for problem in error.value.problems) == [
        "An image file does not exist",
        "An image file is damaged",
        "dataset",
        "dataset",
        "dataset",
    ]


def test_destination_in_use(tmp_path: Path) -> None:
    source = write_task(tmp_path / "t")
    before = files(source)
    with pytest.raises(UserError, match="in use"):
        convert_msd(source, source, quiet=True)
    assert files(source) == before


def test_real_task(shared: Path, tmp_path: Path) -> None:
    hippocampus = shared / "data" / "Dataset004_Hippocampus"
    names = [path.name.removesuffix(".nii.gz") for path in sorted((hippocampus / "labelsTr").iterdir())[:4]]
    source = tmp_path / "Task04_Hippocampus"
    for name in names:
        for old, new in ((f"imagesTr/{name}_0000", f"imagesTr/{name}"), (f"labelsTr/{name}", f"labelsTr/{name}")):
            (source / new).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(hippocampus / f"{old}.nii.gz", source / f"{new}.nii.gz")
    content = {
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "anterior", "2": "posterior"},
        "numTraining": 3,
        "training": [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in names[:3]],
        "test": [f"./imagesTr/{names[3]}.nii.gz"],
    }
    (source / "dataset.json").write_text(json.dumps(content))
    made = convert_msd(source, tmp_path / "made", quiet=True)
    dataset = load_dataset(made)
    reference = load_dataset(hippocampus)
    assert dataset.description == reference.description.model_copy(update={"numTraining": 3})
    for case, original in zip(dataset.cases, reference.cases[:3], strict=True):
        assert case.id == original.id
        assert case.images[0].read_bytes() == original.images[0].read_bytes()
    assert names_in(made / "imagesTs") == [f"{names[3]}_0000.nii.gz"]
