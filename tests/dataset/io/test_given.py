"""Images of other libraries are understood as their files are, and label maps are of their kind and on their grid."""

# nibabel's methods carry no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from umseg.common.errors import UserError
from umseg.dataset.io.given import given_image
from umseg.dataset.io.images import read_image
from umseg.dataset.io.orientation import stored_axes

VOXELS = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
AFFINE = np.array([[0, -0.5, 0, 3.0], [0, 0, 2.0, -4], [-0.75, 0, 0, 5], [0, 0, 0, 1]])
LABEL = (VOXELS > 0).astype(np.uint8)


def itk_image(values: Any = VOXELS, vector: bool = False) -> sitk.Image:
    image = sitk.GetImageFromArray(values, isVector=vector)
    if image.GetDimension() == 3:
        image.SetSpacing((0.5, 0.75, 2.0))
        image.SetOrigin((1.0, -2.0, 3.0))
        image.SetDirection((0.0, 1.0, 0.0, 0.0, 0.0, 1.0, -1.0, 0.0, 0.0))
    return image


def test_an_image_of_simpleitk_is_what_its_file_is(tmp_path: Path) -> None:
    image = itk_image()
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    given, read = given_image(image), read_image([tmp_path / "a.nrrd"])
    np.testing.assert_array_equal(given.array, read.array)
    assert given.spacing == pytest.approx(read.spacing)
    assert given.axes == stored_axes(tmp_path / "a.nrrd", read.geometry) is not None
    label = given.like(LABEL)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(label), LABEL)
    for name in ("GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(label, name)() == getattr(image, name)()
    assert label.GetPixelID() == sitk.sitkUInt8


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_an_image_of_nibabel_is_what_its_file_is(tmp_path: Path, kind: Any) -> None:
    image = kind(VOXELS.T, AFFINE)
    nibabel.save(image, tmp_path / "a.nii")
    given, read = given_image(image), read_image([tmp_path / "a.nii"])
    np.testing.assert_array_equal(given.array, read.array)
    assert given.spacing == pytest.approx(read.spacing)
    assert given.axes == stored_axes(tmp_path / "a.nii", read.geometry) is not None
    label = given.like(LABEL)
    assert type(label) is kind
    np.testing.assert_array_equal(np.asanyarray(label.dataobj), LABEL.T)
    np.testing.assert_allclose(label.affine, image.affine)
    assert label.get_data_dtype() == np.uint8


def test_other_images_of_nibabel_get_label_maps_as_nifti() -> None:
    image = nibabel.MGHImage(VOXELS.T, AFFINE)
    given = given_image(image)
    np.testing.assert_array_equal(given.array, VOXELS[None])
    label = given.like(LABEL)
    assert type(label) is nibabel.Nifti1Image
    np.testing.assert_allclose(label.affine, AFFINE, atol=1e-6)


def test_without_forms_the_place_in_space_is_not_known() -> None:
    image = nibabel.Nifti1Image(VOXELS.T, None)
    image.header.set_zooms((0.5, 0.75, 2.0))
    given = given_image(image)
    assert given.axes is None
    assert given.spacing == (2.0, 0.75, 0.5)
    assert int(given.like(LABEL).header["sform_code"]) == 0


def test_scaled_values_are_those_that_nibabel_shows(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.arange(210, dtype=np.int16).reshape(7, 6, 5), AFFINE)
    image.header.set_slope_inter(2, -3)
    nibabel.save(image, tmp_path / "a.nii")
    loaded = nibabel.load(tmp_path / "a.nii")
    np.testing.assert_array_equal(given_image(loaded).array, read_image([tmp_path / "a.nii"]).array)


def test_components_and_lists_are_channels() -> None:
    colours = np.stack([VOXELS, VOXELS + 1, VOXELS + 2])
    vector = itk_image(np.moveaxis(colours, 0, -1), vector=True)
    several = [itk_image(channel) for channel in colours]
    nifti = [nibabel.Nifti1Image(channel.T, AFFINE) for channel in colours]
    for image in (vector, several, tuple(several), nifti):
        np.testing.assert_array_equal(given_image(image).array, colours)


def test_pictures_have_one_slice_and_count_as_thick(tmp_path: Path) -> None:
    plane = VOXELS[0]
    image = itk_image(plane)
    image.SetSpacing((0.5, 0.25))
    for given in (given_image(image), given_image(nibabel.Nifti1Image(plane.T, np.diag([0.5, 0.25, 1, 1])))):
        np.testing.assert_array_equal(given.array, plane[None, None])
        assert given.spacing == (999 * 0.5, 0.25, 0.5)
        assert given.axes is None
    label = given_image(image).like(LABEL[:1])
    assert label.GetDimension() == 2
    assert label.GetSpacing() == (0.5, 0.25)
    colours = given_image(itk_image(np.stack([plane, plane + 1], axis=-1), vector=True))
    assert colours.array.shape == (2, 1, 6, 7)


def test_arrays_are_taken_as_they_are() -> None:
    given = given_image(VOXELS[None], (1.0, 2.0, 3.0))
    assert np.shares_memory(given.array, VOXELS)
    assert (given.spacing, given.axes) == ((1.0, 2.0, 3.0), None)
    assert given.like(LABEL) is LABEL


@pytest.mark.parametrize(
    ("image", "spacing", "message"),
    [
        (VOXELS[None], None, "An array has no spacing"),
        (itk_image(), (1.0, 1.0, 1.0), "states its own"),
        ("a.nii.gz", None, "kind that is not known"),
        ([], None, "kind that is not known"),
        ([itk_image(), nibabel.Nifti1Image(VOXELS.T, AFFINE)], None, "kind that is not known"),
        (nibabel.Nifti1Image(np.zeros((3, 4, 5, 6), np.float32), AFFINE), None, "too many axes"),
        (itk_image(np.zeros((3, 4, 5, 6), np.float32)), None, "too many axes"),
        ([itk_image(), itk_image(VOXELS[:4])], None, "different grids"),
        ([nibabel.Nifti1Image(VOXELS.T, AFFINE), nibabel.Nifti1Image(VOXELS.T, np.eye(4))], None, "different grids"),
    ],
)
def test_what_is_no_image_is_refused(image: Any, spacing: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        given_image(image, spacing)
