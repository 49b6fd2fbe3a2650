"""Pictures of a case: which planes, which layers, what they show, and how large they are."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import io

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.reports.page.builder import make_maps
from umseg.dataset.description import DatasetDescription
from umseg.dataset.io.grid import Geometry
from umseg.reports.page.palette import EXTRA, MISSED, codes, rgb
from umseg.reports.page.pictures.layers import class_errors, error_layer, label_layer, object_errors
from umseg.reports.page.pictures.planes import Maps, colour_numbers, draw_planes, shown_box
from umseg.reports.page.pictures.volumes import draw_volumes

GEOMETRY = Geometry((24, 20, 8), (1.0, 1.0, 2.0), (10.0, 20.0, 30.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))


def picture(uri: str) -> NDArray[np.uint8]:
    """Red, green, blue and opacity of a layer."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGBA"))


def volume(text: str) -> nib.Nifti1Image:
    return nib.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(text)))


def test_a_label_layer_is_clear_outside_and_opaque_at_outlines() -> None:
    labels = np.zeros((6, 6), np.intp)
    labels[1:5, 1:5] = 1
    pixels = picture(label_layer(labels, 2))
    assert pixels.shape == (12, 12, 4)
    assert pixels[0, 0, 3] == 0
    assert pixels[2, 5, 3] == 255
    assert 0 < pixels[5, 5, 3] < 255


def test_an_error_layer_has_the_colours_of_its_legend() -> None:
    errors = np.array([[1, 1, 1], [0, 0, 0], [2, 2, 2]], np.uint8)
    pixels = picture(error_layer(errors, 1))
    assert tuple(pixels[0, 0, :3]) == rgb(MISSED)
    assert tuple(pixels[2, 0, :3]) == rgb(EXTRA)


def test_errors_of_classes_are_missed_extra_or_confused_and_ignored_voxels_are_none() -> None:
    reference = np.array([1, 1, 0, 0, 1, 3])
    prediction = np.array([1, 0, 2, 0, 2, 1])
    assert class_errors(prediction, reference).tolist() == [0, 1, 2, 0, 3, 3]
    assert class_errors(prediction, reference, ignore_label=3).tolist() == [0, 1, 2, 0, 3, 0]


def test_objects_without_a_counterpart_are_errors_as_a_whole() -> None:
    reference = np.array([[5, 5, 5, 5, 0, 7, 7, 0, 0]])
    prediction = np.array([[2, 2, 2, 0, 0, 0, 3, 3, 3]])
    # The IoU of 5 and 2 is 3/4, that of 7 and 3 is 1/4.
    assert object_errors(prediction, reference, 0.5).tolist() == [[0, 0, 0, 0, 0, 1, 2, 2, 2]]
    assert object_errors(prediction, reference, 0.25).tolist() == [[0] * 9]


def test_objects_are_compared_where_a_map_has_none() -> None:
    empty, one = np.zeros((2, 2), np.int8), np.eye(2, dtype=np.int8)
    assert object_errors(empty, one, 0.5).tolist() == [[1, 0], [0, 1]]
    assert object_errors(one, empty, 0.5).tolist() == [[2, 0], [0, 2]]
    assert not object_errors(empty, empty, 0.5).any()


def test_a_volume_has_three_planes_through_the_largest_error_with_all_layers() -> None:
    planes = draw_planes(make_maps(), 10**6)
    assert [plane.title for plane in planes] == ["axial", "sagittal", "coronal"]
    # The prediction misses y = 4 and 5.
    assert planes[2].place in ("y = 5 of 20", "y = 6 of 20")
    assert all(set(plane.layers) == {"image", "reference", "prediction-0", "error-0"} for plane in planes)
    assert all(len(plane.edges) == 4 for plane in planes)


def test_a_plane_has_the_shape_of_the_body_not_of_the_array() -> None:
    maps = make_maps()
    box = shown_box(maps)
    sizes = [(part.stop - part.start) * size for part, size in zip(box, maps.spacing, strict=True)]
    coronal = draw_planes(maps, 10**6)[2]
    assert coronal.ratio == pytest.approx(sizes[2] / sizes[0])


def test_a_small_budget_makes_smaller_pictures() -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(size=(1, 1, 300, 400)).astype(np.float32)
    maps = Maps(image, None, (np.zeros((1, 300, 400), np.int8),), (1.0, 1.0, 1.0), "", None)
    (large,), (small,) = draw_planes(maps, 10**6), draw_planes(maps, 20_000)
    assert large.size > 80_000
    assert small.size <= 20_000


def test_a_picture_in_colours_keeps_them() -> None:
    image = np.zeros((3, 1, 100, 90), np.float32)
    image[0, :, :50], image[2, :, 50:] = 200, 200
    maps = Maps(image, None, (None,), (1.0, 1.0, 1.0), "", None)
    pixels = picture(draw_planes(maps, 10**6)[0].layers["image"]).astype(int)
    assert pixels[10, 10, 0] - pixels[10, 10, 2] > 150
    assert pixels[90, 10, 2] - pixels[90, 10, 0] > 150


def test_regions_have_the_colours_of_the_values_that_are_written_for_them() -> None:
    description = DatasetDescription(
        channel_names={"0": "MRI"},
        labels={"background": 0, "whole": (1, 2, 3), "core": (2, 3), "active": (3,)},
        regions_class_order=(1, 2, 3),
        numTraining=1,
        file_ending=".nii.gz",
    )
    assert colour_numbers(description, 3).tolist() == [0, 1, 2, 3]
    assert colour_numbers(None, 2).tolist() == [0, 1, 2]


def test_colours_of_many_classes_are_defined_and_begin_alike() -> None:
    assert codes(300)[:7] == codes(7)
    assert len(set(codes(60))) == 60


def test_volumes_are_cropped_and_lie_where_the_image_lies() -> None:
    maps = make_maps()
    files = draw_volumes(maps, GEOMETRY, 10**6)
    assert set(files) == {"image", "reference", "prediction-0"}
    found = volume(files["reference"])
    z, y, x = shown_box(maps)
    assert maps.reference is not None
    assert np.array_equal(np.asarray(found.dataobj), maps.reference[z, y, x].transpose(2, 1, 0))
    # ITK's axes grow to the left and to the back, those of NIfTI to the right and to the front.
    assert found.affine[:3, 3].tolist() == [-(10.0 + x.start), -(20.0 + y.start), 30.0 + 2 * z.start]
    assert np.diag(found.affine)[:3].tolist() == [-1, -1, 2]


def test_volumes_are_thinned_out_until_they_fit_and_left_out_if_they_cannot() -> None:
    maps = make_maps()
    noise = np.random.default_rng(1).normal(size=maps.image.shape).astype(np.float32)
    maps = dataclasses.replace(maps, image=noise)
    whole = sum(map(len, draw_volumes(maps, GEOMETRY, 10**6).values()))
    thin = draw_volumes(maps, GEOMETRY, whole // 2)
    assert sum(map(len, thin.values())) <= whole // 2
    # Slices are 2 mm apart: the other axes are thinned out first.
    assert volume(thin["image"]).header.get_zooms() == (2, 2, 2)
    assert not draw_volumes(maps, GEOMETRY, 100)


def test_a_single_slice_has_no_volume() -> None:
    image = np.zeros((1, 1, 8, 8), np.float32)
    maps = Maps(image, None, (np.ones((1, 8, 8), np.int8),), (1.0, 1.0, 1.0), "", None)
    assert not draw_volumes(maps, GEOMETRY, 10**6)
