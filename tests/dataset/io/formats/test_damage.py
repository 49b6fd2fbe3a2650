"""Headers that promise more than their files hold."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image as Picture

from tests.dataset.builder import write_image
from umseg.common.errors import UserError
from umseg.dataset.check.digest import case_digest
from umseg.dataset.dataset import Case
from umseg.dataset.io.formats.nifti import voxels
from umseg.dataset.io.images import read_image

VALUES = np.random.default_rng(0).integers(1, 200, (10, 12, 14)).astype(np.int16)


@pytest.mark.parametrize("size", ["14 12 11", "30000 30000 30000"])
@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("ending", [".mha", ".mhd", ".nrrd", ".nhdr"])
def test_text_headers(tmp_path: Path, ending: str, compressed: bool, size: str) -> None:
    path = tmp_path / f"a{ending}"
    sitk.WriteImage(sitk.GetImageFromArray(VALUES), str(path), compressed)
    np.testing.assert_array_equal(read_image([path]).array[0], VALUES)
    content = path.read_bytes()
    assert content.count(b"14 12 10") == 1
    path.write_bytes(content.replace(b"14 12 10", size.encode()))
    with pytest.raises(UserError, match="damaged") as raised:
        read_image([path])
    assert "its header promises" in str(raised.value.found)


@pytest.mark.parametrize("claim", ["NDims = 93", "NDims = 3\nNDims = 93", "NDims = x", "NDims ="])
def test_dimensions_that_would_make_itk_write_behind_its_arrays(tmp_path: Path, claim: str) -> None:
    path = write_image(tmp_path / "a.mha", VALUES)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"NDims = 3", claim.encode()))
    with pytest.raises(UserError, match="damaged") as raised:
        read_image([path])
    assert "how many dimensions" in str(raised.value.found)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("size", [(14, 12, 11), (30_000, 30_000, 30_000)])
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_nifti(tmp_path: Path, ending: str, size: tuple[int, int, int], dtype: type) -> None:
    content = bytearray(write_image(tmp_path / "a.nii", VALUES.astype(dtype)).read_bytes())
    struct.pack_into("<3h", content, 42, *size)
    path = tmp_path / f"b{ending}"
    path.write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
    with pytest.raises(UserError, match="damaged") as raised:
        read_image([path])
    assert "its header promises" in str(raised.value.found)


def test_png(tmp_path: Path) -> None:
    Picture.fromarray(VALUES[0].astype(np.uint8)).save(tmp_path / "a.png")
    content = bytearray((tmp_path / "a.png").read_bytes())
    struct.pack_into(">II", content, 16, 100_000, 100_000)
    struct.pack_into(">I", content, 29, zlib.crc32(content[12:29]))
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        read_image([tmp_path / "a.png"])


def test_jpeg(tmp_path: Path) -> None:
    Picture.fromarray(VALUES[0].astype(np.uint8)).save(tmp_path / "a.jpg")
    content = bytearray((tmp_path / "a.jpg").read_bytes())
    struct.pack_into(">HH", content, content.find(b"\xff\xc0") + 5, 60_000, 60_000)
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        read_image([tmp_path / "a.jpg"])


@pytest.mark.parametrize("fields", [{}, {"progressive": True}, {"restart_marker_rows": 1}, {"exif": True}])
@pytest.mark.parametrize("colours", [1, 3])
def test_jpeg_that_ends_early(tmp_path: Path, fields: dict[str, Any], colours: int) -> None:
    values = np.random.default_rng(0).integers(0, 255, (60, 70, colours)).astype(np.uint8).squeeze()
    if fields.pop("exif", False):
        # A thumbnail brings an end marker of its own.
        fields["exif"] = b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0\xff\xd8\xff\xd9"
    path = tmp_path / "a.jpg"
    Picture.fromarray(values).save(path, subsampling=0, **fields)
    content = path.read_bytes()
    with Picture.open(path) as picture:
        truth = np.asarray(picture)
    read = read_image([path]).array[:, 0]
    np.testing.assert_allclose(np.moveaxis(read, 0, -1).squeeze(), truth, atol=2)
    path.write_bytes(content + b"\0\0")
    assert read_image([path]).array.shape == (colours, 1, 60, 70)
    for share in (0.3, 0.6, 0.9, 1):
        path.write_bytes(content[: int(share * len(content)) - 2])
        with pytest.raises(UserError, match="damaged"):
            read_image([path])


def test_blank_pictures_compress_well_and_are_read(tmp_path: Path) -> None:
    blank = np.zeros((3000, 3000), np.uint8)
    for name in ("a.png", "a.jpg"):
        Picture.fromarray(blank).save(tmp_path / name, optimize=True)
        assert read_image([tmp_path / name]).array.max() == 0
    Picture.fromarray(blank).save(tmp_path / "a.tif", compression="tiff_lzw")
    assert read_image([tmp_path / "a.tif"]).array.max() == 0


def test_an_image_larger_than_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_image(tmp_path / "a.nii", VALUES)

    def no_memory(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(voxels, "_numbers", no_memory)
    with pytest.raises(UserError, match="Reading the image ran out of memory") as raised:
        read_image([path])
    assert raised.value.found == "size 14 x 12 x 10, 1 numbers per voxel"


@pytest.mark.parametrize(("header", "data"), [("a.mhd", "a.raw"), ("a.nhdr", "a.raw")])
def test_digest_is_of_the_voxels_beside_a_header_too(tmp_path: Path, header: str, data: str) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(VALUES), str(tmp_path / header))
    case = Case(id="a", images=(tmp_path / header,))
    before = case_digest(case)
    content = bytearray((tmp_path / data).read_bytes())
    content[100] ^= 1
    (tmp_path / data).write_bytes(content)
    assert case_digest(case) != before
