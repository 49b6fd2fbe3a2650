"""Where the voxels of MetaImage and NRRD files are, and where they must not be."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from umseg.common.errors import UserError
from umseg.dataset.io.formats.metaimage import MetaImage
from umseg.dataset.io.formats.nrrd import Nrrd
from umseg.dataset.io.formats.text_header import TextHeader
from umseg.dataset.io.images import read_image, read_label, write_label
from umseg.dataset.io.source import DamagedFileError

VALUES = np.random.default_rng(0).integers(1, 200, (4, 5, 6)).astype(np.int16)
META = (
    "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nDimSize = 6 5 4\n"
    "ElementType = MET_SHORT\n"
)
NRRD = "NRRD0004\ntype: int16\ndimension: 3\nsizes: 6 5 4\nendian: little\nencoding: raw\n"


def read_header(path: Path) -> TextHeader:
    return (MetaImage() if path.suffix in MetaImage.endings else Nrrd()).read_header(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with voxels beside it, and in it whole and slice by slice."""
    inner = tmp_path / "images"
    inner.mkdir()
    for path in (tmp_path / "a.raw", inner / "a.raw"):
        path.write_bytes(VALUES.tobytes())
    for number, plane in enumerate(VALUES):
        (inner / f"s{number}.raw").write_bytes(plane.tobytes())
    return inner


def write(path: Path, place: str) -> Path:
    text = META + place + "\n" if path.suffix == ".mhd" else NRRD + place + "\n\n"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("a.mhd", "ElementDataFile = a.raw"),
        ("a.mhd", "ElementDataFile=./a.raw"),
        ("a.nhdr", "data file: a.raw"),
        ("a.nhdr", "datafile: ./a.raw"),
    ],
)
def test_voxels_in_one_file_of_the_same_folder(folder: Path, name: str, place: str) -> None:
    path = write(folder / name, place)
    stored = read_header(path).stored
    assert (stored.file, stored.start, stored.encoding) == (folder / "a.raw", 0, "raw")
    np.testing.assert_array_equal(read_image([path]).array[0], VALUES)


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd"])
def test_voxels_behind_the_header(tmp_path: Path, name: str) -> None:
    header = (META + "ElementDataFile = LOCAL\n" if name == "a.mha" else NRRD + "\n").encode()
    path = tmp_path / name
    path.write_bytes(header + VALUES.tobytes())
    stored = read_header(path).stored
    assert (stored.file, stored.start, stored.encoding) == (path, len(header), "raw")
    np.testing.assert_array_equal(read_image([path]).array[0], VALUES)


LIST = "\n".join(f"s{number}.raw" for number in range(4))


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("a.mhd", "ElementDataFile = ../a.raw"),
        ("a.mhd", "ElementDataFile = {folder}/a.raw"),
        ("a.mhd", "ElementDataFile = ..\\a.raw"),
        ("a.mhd", f"ElementDataFile = LIST\n{LIST}"),
        ("a.mhd", f"ElementDataFile = LIST 2\n{LIST}"),
        ("a.mhd", "ElementDataFile = LIST.raw"),
        ("a.mhd", "ElementDataFile = s%d.raw 0 3 1"),
        ("a.mhd", "ElementDataFile = s%d.raw"),
        ("a.mhd", "ElementDataFile = /etc/passwd"),
        ("a.nhdr", "data file: ../a.raw"),
        ("a.nhdr", "DATAFILE: {folder}/a.raw"),
        ("a.nhdr", f"data file: LIST\n{LIST}"),
        ("a.nhdr", "data file: s%d.raw 0 3 1"),
        ("a.nhdr", "data file: a.dat"),
    ],
)
def test_voxels_anywhere_else_are_refused_with_advice(folder: Path, name: str, place: str) -> None:
    path = write(folder / name, place.format(folder=folder.parent))
    with pytest.raises(UserError, match="voxels in other files") as raised:
        read_image([path])
    assert raised.value.file == str(path)
    assert place.split("\n", maxsplit=1)[0].format(folder=folder.parent).endswith(str(raised.value.found))
    assert ".nii.gz" in str(raised.value.remedy)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("a.mhd", ""),
        ("a.mhd", "ElementDataFile : ../a.raw"),
        ("a.mhd", "Comment = ElementDataFile\nElementDataFile = a.raw"),
        ("a.nhdr", "data file: a.raw\ndatafile: ../a.raw"),
    ],
)
def test_what_may_be_understood_in_two_ways_is_refused(folder: Path, name: str, place: str) -> None:
    path = write(folder / name, place)
    with pytest.raises(DamagedFileError, match=r"voxels|ElementDataFile"):
        read_header(path)
    with pytest.raises(UserError, match="damaged"):
        read_image([path])


def test_voxels_that_are_missing_are_named(folder: Path) -> None:
    with pytest.raises(UserError, match="damaged") as raised:
        read_image([write(folder / "a.mhd", "ElementDataFile = b.raw")])
    assert raised.value.found == "the file of its voxels is missing: b.raw"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
@pytest.mark.parametrize(("name", "place"), [("a.mhd", "ElementDataFile = b.raw"), ("a.nhdr", "data file: b.raw")])
def test_voxels_that_are_no_file_are_not_waited_for(folder: Path, name: str, place: str) -> None:
    os.mkfifo(folder / "b.raw")
    with pytest.raises(UserError, match="damaged") as raised:
        read_image([write(folder / name, place)])
    assert raised.value.found == "the file of its voxels is no file: b.raw"


@pytest.mark.parametrize(("name", "voxels"), [("b.mhd", "b.zraw"), ("b.nhdr", "b.raw.gz")])
def test_label_maps_of_two_files_are_written_under_their_names(folder: Path, name: str, voxels: str) -> None:
    grid = read_image([write(folder / "a.mhd", "ElementDataFile = a.raw")]).geometry
    before = {path.name for path in folder.iterdir()}
    for values in (VALUES % 3, VALUES % 7):
        write_label(folder / name, values, grid)
        np.testing.assert_array_equal(read_label(folder / name).array, values)
    assert {path.name for path in folder.iterdir()} - before == {name, voxels}
