"""Orientations are told as nibabel tells them, and images are turned without moving a voxel in space."""

# nibabel's functions carry no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from tests.dataset.builder import write_image
from tests.orientations import AFFINE, ALL, write_along
from umseg.common.errors import UserError
from umseg.dataset.io.images import Image, read_geometry, read_image
from umseg.dataset.io.orientation import Turn, common_axes, count_axes, parse_axes, stored_axes, turn_onto

VALUES = np.random.default_rng(0).integers(0, 99, (4, 5, 6)).astype(np.int16)


def oblique() -> np.ndarray:
    """Axes some degrees away from those of the body."""
    turned, _ = np.linalg.qr(np.array([[0.95, -0.2, 0.1], [0.2, 0.95, -0.1], [-0.1, 0.1, 0.95]]))
    affine = AFFINE.copy()
    affine[:3, :3] = turned * np.sign(np.diag(turned)) @ np.diag([1.5, 0.8, 2])
    return np.asarray(affine)


@pytest.mark.parametrize("affine", [AFFINE, oblique()], ids=["straight", "oblique"])
@pytest.mark.parametrize("axes", ALL)
def test_an_image_is_turned_from_any_orientation(tmp_path: Path, axes: str, affine: np.ndarray) -> None:
    expected = read(write_along(tmp_path / "a.nii.gz", VALUES, "RAS", affine))
    path = write_along(tmp_path / "b.nii.gz", VALUES, axes, affine)
    found = read(path)
    assert stored_axes(path, found.geometry) == axes
    turn = Turn.between(axes, "RAS")
    assert bool(turn) == (axes != "RAS")
    np.testing.assert_array_equal(turn.array(found.array), expected.array)
    np.testing.assert_array_equal(turn.inverse.array(expected.array), found.array)
    assert turn.spacing(found.spacing) == pytest.approx(expected.spacing)
    grid = turn.geometry(found.geometry)
    assert grid.size == expected.geometry.size
    np.testing.assert_allclose(grid.origin, expected.geometry.origin, atol=1e-4)
    np.testing.assert_allclose(grid.direction, expected.geometry.direction, atol=1e-5)
    assert turn_onto(path, found.geometry, tmp_path / "a.nii.gz", expected.geometry) == turn


def read(path: Path) -> Image:
    return read_image([path])


def test_axes_of_formats_with_a_place_in_space(tmp_path: Path) -> None:
    for ending in (".nii.gz", ".nrrd", ".mha"):
        path = write_image(tmp_path / f"a{ending}", VALUES, direction=(0, 0, 1, -1, 0, 0, 0, -1, 0))
        # x points back to front in ITK's axes, which grow to the left and to the back.
        assert stored_axes(path, read_geometry(path)) == "AIL"


def test_pictures_and_slices_have_no_orientation(tmp_path: Path) -> None:
    stack = write_image(tmp_path / "a.tif", VALUES.astype(np.uint16))
    slice_ = write_image(tmp_path / "a.nii.gz", VALUES[0])
    for path in (stack, slice_):
        assert stored_axes(path, read_geometry(path)) is None
    assert not Turn.between(None, "RAS")


def test_a_nifti_file_without_forms_has_no_orientation(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(VALUES.T, None)
    image.header.set_qform(None, 0)
    image.header.set_sform(None, 0)
    nibabel.save(image, tmp_path / "a.nii.gz")
    assert stored_axes(tmp_path / "a.nii.gz", read_geometry(tmp_path / "a.nii.gz")) is None


def test_another_place_is_no_other_orientation(tmp_path: Path) -> None:
    here = write_image(tmp_path / "a.nii.gz", VALUES)
    there = write_image(tmp_path / "b.nii.gz", VALUES, origin=(40.0, 0.0, 0.0))
    turn = turn_onto(there, read_geometry(there), here, read_geometry(here))
    assert turn is not None
    assert not turn


def test_flipped_axes_on_another_grid_are_no_turn(tmp_path: Path) -> None:
    here = write_image(tmp_path / "a.nii.gz", VALUES)
    there = write_image(tmp_path / "b.nii.gz", VALUES, direction=(-1, 0, 0, 0, -1, 0, 0, 0, 1))
    assert turn_onto(there, read_geometry(there), here, read_geometry(here)) is None


def test_a_channel_along_other_axes_is_turned_to_the_first(tmp_path: Path) -> None:
    paths = [write_along(tmp_path / f"a_{n:04d}.nii.gz", VALUES + n, axes) for n, axes in enumerate(("RAS", "PIL"))]
    image = read_image(paths)
    np.testing.assert_array_equal(image.array[1], image.array[0] + 1)
    assert [notice.problem for notice in image.notices] == ["The channels of a case are stored along different axes."]


def test_counts() -> None:
    assert common_axes(["RAS", None, "RAS"]) == "RAS"
    assert common_axes(["RAS", "LPS"]) is None
    assert common_axes([None]) is None
    assert count_axes(["LPS", "RAS", None, "RAS"]) == [("RAS", 2), ("LPS", 1)]


@pytest.mark.parametrize("text", ["RA", "RAX", "RRS", "RASS", ""])
def test_axes_that_make_no_sense(text: str) -> None:
    with pytest.raises(UserError, match="orientation is not valid") as raised:
        parse_axes(text)
    assert "--reorient" in str(raised.value.remedy)


def test_axes_are_written_in_any_case() -> None:
    assert parse_axes(" lpi ") == "LPI"


def test_sitk_agrees(tmp_path: Path) -> None:
    """SimpleITK names the side from which an axis comes; nibabel that to which it goes."""
    for axes in ("RAS", "LPI", "PSR"):
        path = write_along(tmp_path / f"{axes}.nii.gz", VALUES, axes)
        direction = sitk.ReadImage(str(path)).GetDirection()
        assert read_geometry(path).direction == pytest.approx(direction, abs=1e-6)
