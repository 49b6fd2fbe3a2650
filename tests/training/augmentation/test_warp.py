from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from tests.training.augmentation.peers import spatial_transform
from umseg.training.augmentation.placement import Placement, sample_cubic, sample_majority
from umseg.training.augmentation.warp import centre_crop, rotate_and_zoom, rotation

GEOMETRIES = [
    ((20, 24), (30, 31), [0.4], 1.2),
    ((20, 24), (30, 31), [-2.4], 1.0),
    ((10, 12, 9), (17, 16, 15), [0.4, 0.2, -0.3], 1.2),
    ((10, 12, 9), (17, 16, 15), [0.4, 0.2, -0.3], 1.0),
    ((10, 12, 9), (17, 16, 15), [0.0, 0.0, 0.0], 1.3),
    ((1, 12, 9), (2, 16, 15), [0.5, 0.0, 0.0], 1.1),
]


def sample(size: tuple[int, ...], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Two channels of noise and a label map of blocks, -1 on one border."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 4, size=[-(-n // 4) for n in size])
    for axis, n in enumerate(size):
        label = np.repeat(label, 4, axis=axis).take(range(n), axis=axis)
    label[:2] = -1
    return torch.from_numpy(rng.normal(size=(2, *size)).astype(np.float32)), torch.tensor(
        label[None], dtype=torch.int16
    )


@pytest.mark.parametrize(("patch", "size", "angles", "zoom"), GEOMETRIES)
def test_equals_batchgenerators(
    patch: tuple[int, ...], size: tuple[int, ...], angles: list[float], zoom: float
) -> None:
    """Angles, zoom, centre, spline, border and labels agree for fixed parameters."""
    image, label = sample(size)
    peer = spatial_transform(patch, [(a, a) for a in angles], (zoom, zoom))
    expected = peer(data=image[None].numpy().copy(), seg=label[None].numpy().astype(np.float32))
    turned, turned_label = rotate_and_zoom(image, label, patch, angles, zoom)
    np.testing.assert_allclose(turned.numpy(), expected["data"][0], atol=1e-5)
    np.testing.assert_array_equal(turned_label.numpy(), expected["seg"][0])


@pytest.mark.parametrize(("patch", "size", "angles", "zoom"), GEOMETRIES)
def test_linear_interpolation_equals_scipys(
    patch: tuple[int, ...], size: tuple[int, ...], angles: list[float], zoom: float
) -> None:
    image, label = sample(size)
    grid = np.stack(np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in patch), indexing="ij"))
    centre = (np.array(size).reshape(-1, *(1,) * len(size)) - 1) / 2
    coordinates = np.tensordot(zoom * rotation(angles), grid, axes=1) + centre
    expected = [ndimage.map_coordinates(x.numpy(), coordinates, order=1, mode="constant", cval=0) for x in image]
    turned, turned_label = rotate_and_zoom(image, label, patch, angles, zoom, splines=False)
    np.testing.assert_allclose(turned.numpy(), expected, atol=1e-5)
    assert torch.equal(turned_label, rotate_and_zoom(image, label, patch, angles, zoom)[1])


@pytest.mark.parametrize("splines", [True, False])
@pytest.mark.parametrize(("patch", "size", "angles", "zoom"), GEOMETRIES)
def test_tensors_and_kernels_agree(
    patch: tuple[int, ...],
    size: tuple[int, ...],
    angles: list[float],
    zoom: float,
    splines: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The tensor code for GPUs, in slabs; float32 coordinates are accurate to a few millionths of a voxel."""
    image, label = sample(size)
    turned, turned_label = rotate_and_zoom(image, label, patch, angles, zoom, splines)
    monkeypatch.setattr("umseg.training.augmentation.warp.small_pieces", lambda device: False)
    monkeypatch.setattr("umseg.training.augmentation.placement._VOXELS", 3 * patch[-1])
    other, other_label = rotate_and_zoom(image, label, patch, angles, zoom, splines)
    torch.testing.assert_close(other, turned, atol=1e-4, rtol=0)
    assert (other_label != turned_label).float().mean() < 0.01


@given(
    st.tuples(*[st.integers(1, 9)] * 3),
    st.tuples(*[st.integers(1, 9)] * 3),
    st.tuples(*[st.floats(-3.1, 3.1)] * 3),
    st.floats(0.7, 1.4),
    st.integers(1, 5),
)
@settings(max_examples=50, deadline=None)
def test_labels_are_those_of_interpolated_masks(
    size: tuple[int, ...], patch: tuple[int, ...], angles: tuple[float, ...], zoom: float, labels: int
) -> None:
    """Each label's mask is interpolated separately; the largest value wins."""
    label = np.random.default_rng(0).integers(-1, labels, size=size)
    matrix = zoom * rotation(angles)
    grid = np.stack(np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in patch), indexing="ij"))
    coordinates = np.tensordot(matrix, grid, axes=1) + (np.array(size).reshape(3, 1, 1, 1) - 1) / 2
    inside = ((coordinates >= 0) & (coordinates <= np.array(size).reshape(3, 1, 1, 1) - 1)).all(0)
    masks = np.stack(
        [
            ndimage.map_coordinates((label == value).astype(float), coordinates, order=1, mode="nearest")
            for value in range(-1, labels)
        ]
    )
    expected = masks.argmax(0) - 1
    first, second = np.sort(masks, axis=0)[:-3:-1]
    undecided = first - second < 1e-4
    expected[~inside] = -1
    # At a face of the image, as between equal weights, rounding decides.
    limits = np.array(size).reshape(3, 1, 1, 1) - 1
    undecided |= (np.minimum(abs(coordinates), abs(coordinates - limits)) < 1e-4).any(0)
    where = Placement(matrix, size, patch)
    tensor = torch.tensor(label[None], dtype=torch.int16)
    _, found = rotate_and_zoom(torch.zeros(1, *size), tensor, patch, angles, zoom)
    for result in (found, sample_majority(tensor, where)):
        np.testing.assert_array_equal(result[0].numpy()[~undecided], expected[~undecided])


def test_planes_are_turned_one_by_one() -> None:
    image, _ = sample((30, 31))
    planes = torch.cat([sample((30, 31), seed)[1] for seed in range(3)])
    _, together = rotate_and_zoom(image, planes, (20, 24), [0.4], 1.2)
    for plane, result in zip(planes, together, strict=True):
        assert torch.equal(rotate_and_zoom(image, plane[None], (20, 24), [0.4], 1.2)[1][0], result)


def test_a_quarter_turn_moves_voxels() -> None:
    image, label = sample((15, 15))
    turned, turned_label = rotate_and_zoom(image, label, (15, 15), [np.pi / 2], 1.0)
    inner = (slice(None), slice(1, -1), slice(1, -1))
    assert torch.equal(turned_label[inner], label.rot90(1, (1, 2))[inner])
    torch.testing.assert_close(turned[inner], image.rot90(1, (1, 2))[inner], atol=1e-4, rtol=0)


@pytest.mark.parametrize("angles", [[0.3], [0.3, -0.2, 1.0]])
def test_a_rotation_is_one(angles: list[float]) -> None:
    matrix = rotation(angles)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(len(matrix)), atol=1e-12)
    assert np.linalg.det(matrix) == pytest.approx(1)


@pytest.mark.parametrize(("size", "patch"), list(itertools.product([7, 8], [4, 5, 7])))
def test_the_middle_is_cut(size: int, patch: int) -> None:
    x: NDArray[np.int64] = np.arange(size)
    [found] = centre_crop(torch.from_numpy(x)[None], (patch,))
    assert found.tolist() == list(range((size - patch) // 2, (size - patch) // 2 + patch))


def test_far_outside_there_is_nothing() -> None:
    where = Placement(np.eye(2) * 1.4, (6, 6), (20, 20))
    image, label = torch.ones(1, 9, 9), torch.ones(1, 6, 6, dtype=torch.int16)
    assert sample_cubic(image, where)[0, 0].eq(0).all()
    assert sample_majority(label, where)[0, 0].eq(-1).all()
