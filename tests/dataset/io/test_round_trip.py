"""Label maps and images keep spacing, origin, direction and values, whatever these are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from tests.dataset.builder import write_image
from umseg.dataset.io.images import read_geometry, read_image, read_label, write_label

ENDINGS = [".nii.gz", ".nii", ".nrrd", ".mha"]
SPACING = st.tuples(*[st.floats(1e-3, 50)] * 3)
ORIGIN = st.tuples(*[st.floats(-1e3, 1e3)] * 3)
ANGLES = st.tuples(*[st.floats(-180, 180)] * 3)
FLIPS = st.tuples(*[st.sampled_from([1.0, -1.0])] * 3)
SHAPE = st.tuples(*[st.integers(1, 5)] * 3)
DTYPES = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.float32, np.float64]


def direction(angles: tuple[float, ...], flips: tuple[float, ...]) -> tuple[float, ...]:
    """A rotation with some axes turned round, row-major."""
    return tuple((Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * np.asarray(flips)).ravel())


def same_grid(path: Path, other: Path) -> None:
    mine, theirs = read_geometry(path), read_geometry(other)
    assert mine.size == theirs.size
    # NIfTI holds single precision; origins lose what spacings of other axes gain.
    assert mine.spacing == pytest.approx(theirs.spacing, rel=1e-5)
    assert mine.origin == pytest.approx(theirs.origin, rel=1e-5, abs=1e-4)
    assert mine.direction == pytest.approx(theirs.direction, abs=1e-5)


@settings(max_examples=80, deadline=None)
@given(
    ending=st.sampled_from(ENDINGS),
    dtype=st.sampled_from(DTYPES),
    shape=SHAPE,
    spacing=SPACING,
    origin=ORIGIN,
    angles=ANGLES,
    flips=FLIPS,
    highest=st.sampled_from([1, 255, 256, 65_535, 65_536, 2**32 - 1]),
)
def test_volume(
    tmp_path_factory: pytest.TempPathFactory,
    ending: str,
    dtype: type,
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    origin: tuple[float, float, float],
    angles: tuple[float, float, float],
    flips: tuple[float, float, float],
    highest: int,
) -> None:
    folder = tmp_path_factory.mktemp("trip")
    random = np.random.default_rng(0)
    values: NDArray[Any] = random.integers(0, 100, shape).astype(dtype)
    path = write_image(folder / f"a{ending}", values, spacing, origin, direction(angles, flips))
    image = read_image([path])
    np.testing.assert_array_equal(image.array[0], values.astype(np.float32))
    assert image.notices == ()
    assert image.geometry.spacing == pytest.approx(spacing, rel=1e-5)
    assert image.geometry.origin == pytest.approx(origin, rel=1e-5, abs=1e-4)
    assert image.geometry.direction == pytest.approx(direction(angles, flips), abs=1e-5)

    labels = random.integers(0, highest, shape, endpoint=True)
    labels.flat[-1] = highest
    for other in ENDINGS:
        write_label(folder / f"b{other}", labels, image.geometry)
        np.testing.assert_array_equal(read_label(folder / f"b{other}").array, labels)
        same_grid(folder / f"b{other}", path)
        written = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / f"b{other}")))
        assert written.dtype == np.min_scalar_type(highest)


@settings(max_examples=30, deadline=None)
@given(
    ending=st.sampled_from([".png", ".tif", ".mha", ".nii.gz"]),
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    highest=st.sampled_from([1, 255, 256, 65_535]),
)
def test_picture(tmp_path_factory: pytest.TempPathFactory, ending: str, shape: tuple[int, int], highest: int) -> None:
    folder = tmp_path_factory.mktemp("trip")
    labels = np.random.default_rng(0).integers(0, highest, shape, endpoint=True).astype(np.uint16)
    labels.flat[0] = highest
    path = write_image(folder / f"a{ending}", labels)
    write_label(folder / f"b{ending}", labels[None].astype(np.int64), read_geometry(path))
    np.testing.assert_array_equal(read_label(folder / f"b{ending}").array[0], labels)
    same_grid(folder / f"b{ending}", path)
    assert sitk.GetArrayFromImage(sitk.ReadImage(str(folder / f"b{ending}"))).dtype == np.min_scalar_type(highest)
