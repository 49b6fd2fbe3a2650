from __future__ import annotations

import gzip
import itertools
import struct
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from umseg.dataset.io.images import read_image
from umseg.dataset.io.orientation import Turn, stored_axes
from umseg.inference.standalone import PredictionError, nifti

# nibabel's functions carry no annotations.
# mypy: disable-error-code="no-untyped-call"

ORIENTATIONS = [
    "".join(codes)
    for pairs in itertools.permutations((("L", "R"), ("P", "A"), ("I", "S")))
    for codes in itertools.product(*pairs)
]


def save(path: Path, axes: str = "RAS", dtype: Any = np.int16, oblique: bool = False) -> Path:
    voxels = np.arange(4 * 5 * 6).reshape(4, 5, 6).astype(dtype)
    affine = nibabel.orientations.inv_ornt_aff(nibabel.orientations.axcodes2ornt(axes), voxels.shape)
    affine[:3, :3] *= np.array([0.5, 0.75, 2.0])
    if oblique:
        angle = 0.3
        turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        affine[:3, :3] = turn @ affine[:3, :3]
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)
    return path


def scaled(path: Path, slope: float, inter: float) -> Path:
    raw = bytearray(path.read_bytes())
    struct.pack_into("<ff", raw, 112, slope, inter)
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("oblique", [False, True])
def test_all_orientations_are_umsegs(tmp_path: Path, oblique: bool) -> None:
    assert len(ORIENTATIONS) == 48
    for axes in ORIENTATIONS:
        path = save(tmp_path / f"{axes}.nii", axes, oblique=oblique)
        picture, image = nifti.read(path), read_image([path], 1)
        assert picture.axes == stored_axes(path, image.geometry)
        np.testing.assert_array_equal(picture.voxels, image.array)
        assert picture.spacing == image.spacing
        turn = Turn.between(picture.axes, "RAS")
        turned = nifti.turned(picture.voxels, picture.axes, "RAS")
        np.testing.assert_array_equal(turned, turn.array(image.array))
        assert nifti.turned_spacing(picture.spacing, picture.axes, "RAS") == turn.spacing(image.spacing)
        np.testing.assert_array_equal(nifti.turned(turned, "RAS", picture.axes), picture.voxels)


@pytest.mark.parametrize(
    ("codes", "quaternion"),
    [((1, 0), (0.1, 0.2, 0.9)), ((2, 4), (0.7, 0.0, 0.1)), ((0, 2), (0.0, 0.0, 1.0)), ((0, 0), (0.0, 0.0, 0.0))],
)
def test_the_form_is_the_one_that_umseg_takes(
    tmp_path: Path, codes: tuple[int, int], quaternion: tuple[float, float, float]
) -> None:
    b, c, d = quaternion
    path = save(tmp_path / "a.nii.gz", "LPS")
    raw = bytearray(gzip.decompress(path.read_bytes()))
    struct.pack_into("<hh3f", raw, 252, *codes, b, c, d)
    struct.pack_into("<f", raw, 76, -1.0)
    path.write_bytes(gzip.compress(raw))
    assert nifti.read(path).axes == stored_axes(path, read_image([path], 1).geometry)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32, np.float64, np.uint16])
@pytest.mark.parametrize("scaling", [(1.0, 0.0), (0.5, -1024.0)])
def test_voxels_are_umsegs(tmp_path: Path, dtype: Any, scaling: tuple[float, float]) -> None:
    path = scaled(save(tmp_path / "a.nii", dtype=dtype), *scaling)
    found, expected = nifti.read(path).voxels, read_image([path], 1).array
    assert found.dtype == expected.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


def test_big_endian_files_and_slices_are_read(tmp_path: Path) -> None:
    header = nibabel.Nifti1Header(endianness=">")
    voxels = np.arange(20, dtype=np.int16).reshape(4, 5)
    nibabel.Nifti1Image(voxels, np.eye(4), header).to_filename(tmp_path / "a.nii")
    picture = nifti.read(tmp_path / "a.nii")
    np.testing.assert_array_equal(picture.voxels, voxels.T[None, None])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_label_maps_stay_where_the_image_is(tmp_path: Path, dtype: Any, name: str) -> None:
    source = scaled(save(tmp_path / "image.nii", "PIR", oblique=True), 2.0, 0.0)
    picture = nifti.read(source)
    labels = (np.indices(picture.voxels.shape[1:]).sum(0) % 3).astype(dtype)
    nifti.write(tmp_path / name, labels, picture)
    written: Any = nibabel.load(tmp_path / name)
    image: Any = nibabel.load(source)
    np.testing.assert_array_equal(np.asarray(written.dataobj), labels.T)
    np.testing.assert_array_equal(written.affine, image.affine)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, source.name])


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: b"",
        lambda raw: raw[:300],
        lambda raw: raw[:-1],
        lambda raw: raw[:344] + b"ni1\0" + raw[348:],
        lambda raw: raw[:70] + struct.pack("<h", 32) + raw[72:],
        lambda raw: raw[:40] + struct.pack("<8h", 4, 4, 5, 2, 3, 1, 1, 1) + raw[56:],
        lambda raw: raw[:40] + struct.pack("<8h", 3, -4, 5, 6, 1, 1, 1, 1) + raw[56:],
        lambda raw: gzip.compress(raw)[:-20],
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, damage: Any) -> None:
    path = save(tmp_path / "a.nii")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(PredictionError, match="cannot be read"):
        nifti.read(path)
