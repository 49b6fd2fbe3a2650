from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.dataset.builder import write_image
from umseg.common.errors import UserError
from umseg.dataset.io.images import read_geometry, read_image, read_label, write_label

AFFINE = np.array([[0.5, 0.1, 0.0, 7.0], [0.0, 0.75, 0.2, -8.0], [0.0, 0.0, 2.0, 9.0], [0, 0, 0, 1.0]])


def noise(shape: tuple[int, ...] = (6, 5, 4), dtype: type = np.int16) -> NDArray[Any]:
    return np.random.default_rng(0).integers(1, 200, shape).astype(dtype)


def save(path: Path, values: NDArray[Any], affine: NDArray[np.float64] = AFFINE, unit: str = "mm") -> Path:
    """``values`` is (x, y, z); the affine is the sform, and there is no qform."""
    image = nibabel.Nifti1Image(values, affine)
    image.header.set_xyzt_units(unit)
    image.set_sform(affine, code=2)
    image.set_qform(None, code=0)
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_axes_that_are_not_at_right_angles(tmp_path: Path, dtype: type, ending: str) -> None:
    values = noise(dtype=dtype)
    path = save(tmp_path / f"a{ending}", values)
    with pytest.raises(RuntimeError, match="orthonormal"):
        sitk.ReadImage(str(path))
    image = read_image([path], 1)
    np.testing.assert_array_equal(image.array[0], values.T)
    assert image.spacing == pytest.approx(np.linalg.norm(AFFINE[:3, :3], axis=0)[::-1])
    # From the right, front and top of NIfTI to the left, back and top of ITK.
    assert image.geometry.origin == pytest.approx((-7.0, 8.0, 9.0))
    (notice,) = image.notices
    assert notice.file == path
    assert "degrees" in notice.found


@settings(max_examples=30, deadline=None)
@given(
    columns=st.lists(st.floats(-3, 3), min_size=9, max_size=9),
    origin=st.tuples(*[st.floats(-500, 500)] * 3),
    labels=st.integers(0, 2**32 - 1),
)
def test_label_map_keeps_any_affine(
    tmp_path_factory: pytest.TempPathFactory,
    columns: list[float],
    origin: tuple[float, float, float],
    labels: int,
) -> None:
    folder = tmp_path_factory.mktemp("affine")
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = np.reshape(columns, (3, 3)) + np.diag([5, 7, 9]), origin
    path = save(folder / "a.nii.gz", noise(), affine)
    geometry = read_geometry(path)
    values = np.full((4, 5, 6), labels)
    write_label(folder / "b.nii.gz", values, geometry)
    original: Any = nibabel.load(path)
    written: Any = nibabel.load(folder / "b.nii.gz")
    np.testing.assert_allclose(written.affine, original.affine, rtol=1e-6, atol=1e-5)
    assert written.get_data_dtype() == np.min_scalar_type(labels)
    label = read_label(folder / "b.nii.gz")
    np.testing.assert_array_equal(label.array, values)
    assert label.geometry.spacing == pytest.approx(geometry.spacing, rel=1e-5)
    assert label.geometry.direction == pytest.approx(geometry.direction, abs=1e-5)


def test_units_are_turned_to_mm(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", noise(), AFFINE, unit="micron")
    assert read_image([path]).spacing[0] == pytest.approx(np.linalg.norm(AFFINE[:3, 2]) * 1e-3)


def test_labels_of_both_kinds_of_file_agree(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", noise())
    write_label(tmp_path / "b.nii.gz", noise().T, read_geometry(path))
    assert read_label(tmp_path / "b.nii.gz").geometry == read_label(path).geometry


def test_4d_file_of_such_axes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="4 dimensions") as raised:
        read_image([save(tmp_path / "a.nii.gz", noise((6, 5, 4, 2)))])
    assert raised.value.found == "size 6 x 5 x 4 x 2"
    image = read_image([save(tmp_path / "b.nii.gz", noise((6, 5, 4, 1)))])
    np.testing.assert_array_equal(image.array[0], noise((6, 5, 4, 1))[..., 0].T)


def test_such_a_file_cut_short(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", noise())
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match="damaged"):
        read_image([path])


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_affines_that_place_nothing_are_refused(tmp_path: Path, value: float) -> None:
    path = save(tmp_path / "a.nii", noise())
    content = bytearray(path.read_bytes())
    # The second column of the sform.
    for row in range(3):
        struct.pack_into("<f", content, 280 + 16 * row + 4, value)
    path.write_bytes(content)
    with pytest.raises(UserError, match="no numbers" if np.isnan(value) else "does not place the image in space"):
        read_image([path])


def test_vector_images_have_as_many_channels_as_components(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.nii.gz", noise((4, 5, 6, 3), np.float32), is_vector=True)
    assert read_image([path], 3).array.shape == (3, 4, 5, 6)
