"""Label maps on another grid against SimpleITK's resampling by the nearest neighbour."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from umseg.dataset.io.grid import Geometry
from umseg.evaluation.resampling import resample_nearest


def grid(rng: np.random.Generator, axes: int, oblique: bool) -> Geometry:
    direction = np.eye(3)
    if oblique:
        direction = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    return Geometry(
        size=tuple(rng.integers(2, 9, axes).tolist()),
        spacing=tuple(rng.uniform(0.5, 3, axes).tolist()),
        origin=tuple(rng.uniform(-4, 4, axes).tolist()),
        direction=tuple(direction[:axes, :axes].ravel().tolist()),
    )


def itk(array: np.ndarray, geometry: Geometry) -> sitk.Image:
    image = sitk.GetImageFromArray(array.reshape(geometry.size[::-1]))
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    return image


@settings(deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([(2, False), (3, False), (3, True)]))
def test_values_are_those_of_simpleitk(seed: int, kind: tuple[int, bool]) -> None:
    rng = np.random.default_rng(seed)
    source, target = grid(rng, *kind), grid(rng, *kind)
    labels = rng.integers(1, 5, source.shape).astype(np.int8)
    expected = sitk.Resample(
        itk(labels, source), itk(np.zeros(target.shape, np.int8), target), sitk.Transform(), sitk.sitkNearestNeighbor
    )
    found = resample_nearest(labels, source, target)
    np.testing.assert_array_equal(found, sitk.GetArrayFromImage(expected).reshape(target.shape))


def test_the_same_grid_changes_nothing_and_a_finer_one_repeats_voxels() -> None:
    labels = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    coarse = Geometry((4, 3, 2), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel()))
    fine = Geometry((8, 6, 4), (1.0, 1.0, 1.0), (-0.5, -0.5, -0.5), coarse.direction)
    np.testing.assert_array_equal(resample_nearest(labels, coarse, coarse), labels)
    finer = labels.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    np.testing.assert_array_equal(resample_nearest(labels, coarse, fine), finer)


def test_pictures_show_the_same_extent() -> None:
    labels = np.arange(6, dtype=np.int8).reshape(1, 2, 3)
    small = Geometry((3, 2), (1.0, 1.0), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0), None)
    large = Geometry((6, 6), (0.3, 0.3), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0), None)
    np.testing.assert_array_equal(resample_nearest(labels, small, large), labels.repeat(3, 1).repeat(2, 2))


def test_a_picture_is_no_volume() -> None:
    flat = Geometry((3, 2), (1.0, 1.0), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0))
    volume = Geometry((3, 2, 1), (1.0,) * 3, (0.0,) * 3, tuple(np.eye(3).ravel()))
    with pytest.raises(ValueError, match="as many dimensions"):
        resample_nearest(np.zeros((1, 2, 3), np.int8), flat, volume)
