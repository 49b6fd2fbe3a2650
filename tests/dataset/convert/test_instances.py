from __future__ import annotations

import csv
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray

from tests.dataset.builder import names_in, write_image
from umseg.common.errors import UserError
from umseg.dataset import load_dataset, read_image, read_label
from umseg.dataset.check.problems import DatasetError
from umseg.dataset.convert.instances import convert_instances, renumber
from umseg.dataset.convert.manifest import Columns

SHAPE = (6, 8)


def colour(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (*SHAPE, 3)).astype(np.uint8)


def grey(seed: int) -> NDArray[np.uint8]:
    return colour(seed)[..., 0]


def instances(*ids: int) -> NDArray[np.uint16]:
    """One object of two pixels per id."""
    found = np.zeros(SHAPE, np.uint16 if max(ids, default=0) < 2**16 else np.uint32)
    for row, number in enumerate(ids):
        found[row, 2:4] = number
    return found


def add(folder: Path, name: str, image: NDArray[Any], ids: NDArray[Any], image_ending: str = ".png") -> None:
    write_image(folder / "images" / f"{name}{image_ending}", image, is_vector=image.ndim == 3)
    write_image(folder / "instances" / f"{name}.tif", ids)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Colour pictures a, b and c."""
    for seed, name in enumerate("abc"):
        add(tmp_path / "source", name, colour(seed), instances(7, 300, 2))
    return tmp_path / "source"


def pixels(path: Path) -> NDArray[Any]:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


@pytest.mark.parametrize("workers", [0, 2])
def test_colour_pictures(source: Path, tmp_path: Path, workers: int) -> None:
    (source / "images" / "._a.png").write_bytes(b"macOS")
    made = convert_instances(source, tmp_path / "d", object_name="nucleus", workers=workers, quiet=True)
    assert names_in(made) == ["dataset.json", "imagesTr", "labelsTr"]
    assert names_in(tmp_path) == ["d", "source"]
    dataset = load_dataset(made)
    assert dataset.description.task == "instance"
    assert dataset.description.labels == {"background": 0, "nucleus": 1}
    assert dataset.description.channel_names == {"0": "red", "1": "green", "2": "blue"}
    for seed, case in enumerate(dataset.cases):
        np.testing.assert_array_equal(read_image(case.images).array, np.moveaxis(colour(seed), -1, 0)[:, None])
        assert case.label is not None
        np.testing.assert_array_equal(read_label(case.label).array[0], instances(7, 300, 2))
        assert case.images[0].read_bytes() == (source / "images" / f"{case.id}.png").read_bytes()


def test_label_maps_have_sixteen_bits(tmp_path: Path) -> None:
    add(tmp_path / "s", "a", grey(0), instances(1))
    made = convert_instances(tmp_path / "s", tmp_path / "d", quiet=True)
    header = (made / "labelsTr" / "a.png").read_bytes()[16:26]
    # PNG: width, height, bit depth, colour type (0: greyscale).
    assert header == (8).to_bytes(4, "big") + (6).to_bytes(4, "big") + b"\x10\x00"


def test_grey_pictures(tmp_path: Path) -> None:
    deep = grey(1).astype(np.uint16) * 257
    add(tmp_path / "s", "a", grey(0), instances(1))
    add(tmp_path / "s", "b", deep, instances(), ".tif")
    made = convert_instances(tmp_path / "s", tmp_path / "d", quiet=True)
    description = json.loads((made / "dataset.json").read_text())
    assert description == {
        "channel_names": {"0": "grey"},
        "labels": {"background": 0, "object": 1},
        "numTraining": 2,
        "file_ending": ".png",
        "task": "instance",
    }
    np.testing.assert_array_equal(pixels(made / "imagesTr" / "b_0000.png"), deep)
    assert pixels(made / "labelsTr" / "b.png").max() == 0


def test_one_coloured_picture_gives_all_colours(tmp_path: Path) -> None:
    transparent = np.concatenate([colour(2), np.full((*SHAPE, 1), 255, np.uint8)], axis=-1)
    for name, image in (("a", grey(0)), ("b", colour(1)), ("c", transparent)):
        add(tmp_path / "s", name, image, instances(1))
    made = convert_instances(tmp_path / "s", tmp_path / "d", quiet=True)
    assert load_dataset(made).description.num_channels == 3
    expected = (np.repeat(grey(0)[..., None], 3, axis=-1), colour(1), colour(2))
    for name, image in zip("abc", expected, strict=True):
        np.testing.assert_array_equal(pixels(made / "imagesTr" / f"{name}_0000.png"), image)


def test_endings_of_the_source_do_not_matter(tmp_path: Path) -> None:
    write_image(tmp_path / "s" / "images" / "a.BMP", colour(0), is_vector=True)
    write_image(tmp_path / "s" / "instances" / "a.png", instances(3))
    made = convert_instances(tmp_path / "s", tmp_path / "d", quiet=True)
    np.testing.assert_array_equal(pixels(made / "imagesTr" / "a_0000.png"), colour(0))


def test_maps_called_label(tmp_path: Path) -> None:
    write_image(tmp_path / "s" / "images" / "a.png", grey(0))
    write_image(tmp_path / "s" / "instances" / "a_label.tiff", instances(3))
    made = convert_instances(tmp_path / "s", tmp_path / "d", quiet=True)
    np.testing.assert_array_equal(pixels(made / "labelsTr" / "a.png"), instances(3))


def test_ids_beyond_sixteen_bits_are_renumbered(tmp_path: Path) -> None:
    add(tmp_path / "s", "a", grey(0), instances(70000, 5, 2**31))
    add(tmp_path / "s", "b", grey(1), instances(9, 65535))
    made = convert_instances(tmp_path / "s", tmp_path / "d", quiet=True)
    np.testing.assert_array_equal(pixels(made / "labelsTr" / "a.png"), instances(2, 1, 3))
    np.testing.assert_array_equal(pixels(made / "labelsTr" / "b.png"), instances(9, 65535))


def test_renumbering_without_background() -> None:
    assert renumber(np.array([[9, 4], [70000, 4]])).tolist() == [[2, 1], [3, 1]]


def test_too_many_instances_for_png(tmp_path: Path) -> None:
    many = np.arange(300 * 300, dtype=np.uint32).reshape(300, 300)
    add(tmp_path / "s", "a", np.zeros((300, 300), np.uint8), many)
    add(tmp_path / "s", "b", grey(1), instances(4))
    made = convert_instances(tmp_path / "s", tmp_path / "d", quiet=True)
    assert [case.images[0].name for case in load_dataset(made).cases] == ["a_0000.tif", "b_0000.tif"]
    np.testing.assert_array_equal(read_label(made / "labelsTr" / "a.tif").array[0], many)
    np.testing.assert_array_equal(read_label(made / "labelsTr" / "b.tif").array[0], instances(4))


def test_fractions_need_tiff(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    add(tmp_path / "s", "a", values, instances(4), ".tif")
    made = convert_instances(tmp_path / "s", tmp_path / "d", quiet=True)
    (case,) = load_dataset(made).cases
    np.testing.assert_array_equal(read_image(case.images).array[0, 0], values)


def test_manifest_parts_and_groups(source: Path, tmp_path: Path) -> None:
    (source / "manifest.csv").write_text("id,split,field_group\na,train,g1\nb,val,g2\nc,train,\n")
    made = convert_instances(source, tmp_path / "d", quiet=True)
    parts = {part: names_in(made / part) for part in ("imagesTr", "labelsTr", "imagesTs", "labelsTs")}
    assert parts == {
        "imagesTr": ["a_0000.png", "c_0000.png"],
        "labelsTr": ["a.png", "c.png"],
        "imagesTs": ["b_0000.png"],
        "labelsTs": ["b.png"],
    }
    assert load_dataset(made).description.numTraining == 2
    assert (made / "groups.csv").read_text() == "case,group\na,g1\nc,c\n"


def test_manifest_without_groups(source: Path, tmp_path: Path) -> None:
    (source / "manifest.csv").write_text("id,part\na,train\nb,train\nc,test\n")
    made = convert_instances(source, tmp_path / "d", columns=Columns(split="part"), quiet=True)
    assert names_in(made / "imagesTs") == ["c_0000.png"]
    assert not (made / "groups.csv").exists()


def drop_map(source: Path) -> None:
    (source / "instances" / "b.tif").unlink()


def drop_image(source: Path) -> None:
    (source / "images" / "b.png").unlink()


def another_size(source: Path) -> None:
    write_image(source / "instances" / "b.tif", np.zeros((8, 6), np.uint16))


def truncate(source: Path) -> None:
    path = source / "images" / "b.png"
    path.write_bytes(path.read_bytes()[:60])


def empty(source: Path) -> None:
    (source / "instances" / "b.tif").write_bytes(b"")


def varying_transparency(source: Path) -> None:
    image = np.concatenate([colour(0), grey(1)[..., None]], axis=-1)
    write_image(source / "images" / "b.png", image, is_vector=True)


def coloured_map(source: Path) -> None:
    write_image(source / "instances" / "b.tif", colour(0), is_vector=True)


def negative_map(source: Path) -> None:
    write_image(source / "instances" / "b.tif", np.full(SHAPE, -1, np.int16))


def fractional_map(source: Path) -> None:
    write_image(source / "instances" / "b.tif", np.full(SHAPE, 0.5, np.float32))


def second_file(source: Path) -> None:
    write_image(source / "images" / "b.tif", grey(0))


def unknown_row(source: Path) -> None:
    (source / "manifest.csv").write_text("id\na\nb\nc\nd\n")


def missing_row(source: Path) -> None:
    (source / "manifest.csv").write_text("id\na\nc\n")


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (drop_map, "image has no instance map"),
        (drop_image, "instance map has no image"),
        (another_size, "differ in size"),
        (truncate, "damaged"),
        (empty, "damaged"),
        (varying_transparency, "neither greyscale nor RGB"),
        (coloured_map, "several components"),
        (negative_map, "negative values"),
        (fractional_map, "not whole numbers"),
        (second_file, "Two files"),
        (unknown_row, "has no files"),
        (missing_row, "not in the manifest"),
    ],
)
def test_spoilt_source(source: Path, tmp_path: Path, spoil: Callable[[Path], None], problem: str) -> None:
    spoil(source)
    with pytest.raises(DatasetError, match=problem) as error:
        convert_instances(source, tmp_path / "d", quiet=True)
    (only,) = error.value.problems
    assert only.case == ("d" if spoil is unknown_row else "b")
    assert only.remedy
    assert names_in(tmp_path) == ["source"]


def test_all_problems_are_reported_together(source: Path, tmp_path: Path) -> None:
    another_size(source)
    (source / "instances" / "a.tif").unlink()
    write_image(source / "instances" / "c.tif", np.full(SHAPE, -1, np.int16))
    (source / "images" / "c.png").write_bytes(b"")
    with pytest.raises(DatasetError, match="4 errors in 3 cases") as error:
        convert_instances(source, tmp_path / "d", quiet=True)
    assert sorted(problem.case for problem in error.value.problems) == ["a", "b", "c", "c"]


@pytest.mark.parametrize("folder", ["images", "instances"])
def test_missing_folder(source: Path, tmp_path: Path, folder: str) -> None:
    shutil.rmtree(source / folder)
    with pytest.raises(UserError, match=f"{folder} does not exist"):
        convert_instances(source, tmp_path / "d", quiet=True)
    (source / folder).mkdir()
    with pytest.raises(UserError, match=f"{folder} has no pictures"):
        convert_instances(source, tmp_path / "d", quiet=True)


@pytest.mark.parametrize("name", ["background", "ignore"])
def test_names_with_a_meaning_of_their_own(source: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="cannot have this name"):
        convert_instances(source, tmp_path / "d", object_name=name, quiet=True)


def test_columns_need_a_manifest(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no manifest"):
        convert_instances(source, tmp_path / "d", columns=Columns(split="part"), quiet=True)


def test_other_files_are_said(source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (source / "images" / "Thumbs.db").touch()
    with caplog.at_level(logging.WARNING):
        convert_instances(source, tmp_path / "d", quiet=True)
    assert "files that are no pictures are skipped: Thumbs.db" in caplog.text


def test_real_nuclei(shared: Path, tmp_path: Path) -> None:
    nuclei = shared / "data" / "Dataset703_DSB2018"
    with (nuclei / "manifest.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))[:6]
    for folder, ending in (("images", ".png"), ("instances", ".tif")):
        (tmp_path / "s" / folder).mkdir(parents=True)
        for row in rows:
            shutil.copy(nuclei / folder / f"{row['id']}{ending}", tmp_path / "s" / folder)
    with (tmp_path / "s" / "manifest.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    made = convert_instances(tmp_path / "s", tmp_path / "d", object_name="nucleus", quiet=True)
    assert {row["split"] for row in rows} == {"train", "val"}
    for row in rows:
        part = "Tr" if row["split"] == "train" else "Ts"
        found = pixels(made / f"labels{part}" / f"{row['id']}.png")
        assert len(np.unique(found[found > 0])) == int(row["n_nuclei"])
        np.testing.assert_array_equal(found, pixels(nuclei / "instances" / f"{row['id']}.tif"))
        image = made / f"images{part}" / f"{row['id']}_0000.png"
        assert image.read_bytes() == (nuclei / "images" / f"{row['id']}.png").read_bytes()
    groups = {row["id"]: row["field_group"] for row in rows if row["split"] == "train"}
    with (made / "groups.csv").open(newline="") as handle:
        assert {row["case"]: row["group"] for row in csv.DictReader(handle)} == groups
