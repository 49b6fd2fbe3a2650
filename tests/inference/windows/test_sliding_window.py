from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from umseg.common.errors import UserError
from umseg.inference.windows.sliding_window import (
    SlidingWindow,
    _require_finite,
    gaussian_weight,
    pad_to,
    patch_corners,
    predict_logits,
    tile_starts,
)

SMALLEST = float(np.finfo(np.float16).smallest_subnormal)


class Copy(nn.Module):
    """Logits are the image."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 1


class Constant(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        return torch.full_like(x, self.value)


class Ramp(nn.Module):
    """Logits grow along the first axis of the patch whatever the image: the same flipped is the reverse."""

    def forward(self, x: Tensor) -> Tensor:
        shape = [-1 if axis == 2 else 1 for axis in range(x.dim())]
        return torch.arange(float(x.shape[2])).reshape(shape).expand_as(x).clone()


class Neighbour(nn.Module):
    """Logits are the image moved by one voxel along an axis: neither symmetric nor local."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        return x.roll(1, dims=self.axis + 2)


def predict(data: Tensor, window: SlidingWindow, *networks: nn.Module) -> Tensor:
    return predict_logits(networks, data, len(data), window, torch.device("cpu"), torch.float32)


def image(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("size", "patch", "starts"),
    [
        (110, 64, (0, 23, 46)),
        (200, 128, (0, 36, 72)),
        (333, 128, (0, 51, 102, 154, 205)),
        (65, 64, (0, 1)),
        (64, 64, (0,)),
        (10, 64, (0,)),
    ],
)
def test_starts_of_the_published_tiles(size: int, patch: int, starts: tuple[int, ...]) -> None:
    assert tile_starts(size, patch, 0.5) == starts


def test_recorded_starts(shared: Path) -> None:
    recorded = json.loads((shared / "reference/preprocess/sliding_steps.json").read_text())
    for entry in recorded:
        corners = patch_corners(entry["image"], entry["tile"], entry["step"])
        assert corners == list(itertools.product(*entry["steps"]))


@given(size=st.integers(1, 300), patch=st.integers(1, 100), step=st.floats(0.05, 1))
def test_tiles_cover_everything_and_are_at_most_a_step_apart(size: int, patch: int, step: float) -> None:
    starts = tile_starts(size, patch, step)
    assert starts[0] == 0
    assert starts[-1] == max(size - patch, 0)
    # Rounding moves two neighbours apart by less than one voxel.
    assert all(b - a < patch * step + 1 and b - a <= patch for a, b in itertools.pairwise(starts))


def test_every_slice_is_visited_by_a_flat_patch() -> None:
    assert patch_corners((3, 6, 4), (1, 4, 4), 0.5) == [(z, y, 0) for z in range(3) for y in (0, 2)]


def test_weights_of_the_published_patches() -> None:
    square = gaussian_weight((16, 16)).numpy()
    found = [square[8, 8], square[8, 0], square[0, 0], square[15, 15]]
    assert found == pytest.approx([10, 0.003355, 1.13e-6, 4.786e-5], rel=5e-3, abs=SMALLEST)
    cube = gaussian_weight((128, 128, 128)).numpy()
    assert cube[64, 64, 64] == 10
    assert cube[32, 64, 64] == pytest.approx(1.3535, rel=1e-3)
    assert cube.min() == pytest.approx(6e-8, rel=0.01)


def test_recorded_weights(shared: Path) -> None:
    with np.load(shared / "reference/preprocess/gaussian.npz") as recorded:
        assert len(recorded.files) == 4
        for name in recorded.files:
            expected = recorded[name]
            found = gaussian_weight(expected.shape).numpy().astype(np.float64)
            np.testing.assert_allclose(found, np.maximum(expected, SMALLEST), rtol=1e-6)


@given(st.lists(st.integers(1, 24), min_size=1, max_size=3))
@settings(max_examples=40, deadline=None)
def test_weights_are_positive_and_highest_in_the_middle(sizes: list[int]) -> None:
    weight = gaussian_weight(tuple(sizes))
    assert weight.shape == tuple(sizes)
    assert weight.min() >= SMALLEST
    assert weight.max() == weight[tuple(n // 2 for n in sizes)] == 10


def test_padding_puts_the_odd_surplus_on_the_far_side() -> None:
    padded, inside = pad_to(torch.ones((1, 2, 3, 5)), (5, 5, 4))
    assert padded.shape == (1, 5, 5, 5)
    np.testing.assert_array_equal(padded[0, :, 1, 0], [0, 1, 1, 0, 0])
    np.testing.assert_array_equal(padded[0, 1, :, 0], [0, 1, 1, 1, 0])
    assert padded.sum() == 30
    assert torch.equal(padded[inside], torch.ones((1, 2, 3, 5)))


def test_an_image_that_is_large_enough_is_not_copied() -> None:
    data = torch.ones((2, 4, 5))
    padded, inside = pad_to(data, (4, 4))
    assert padded is data
    assert torch.equal(padded[inside], data)


@st.composite
def windows(draw: st.DrawFn) -> tuple[tuple[int, ...], SlidingWindow]:
    """Shape of an image, smaller or larger than the patch, and a window of two or three axes."""
    axes = draw(st.sampled_from([2, 3]))
    window = SlidingWindow(
        patch=tuple(draw(st.lists(st.integers(2, 8), min_size=axes, max_size=axes))),
        batch_size=draw(st.integers(1, 5)),
        step=draw(st.sampled_from([0.25, 0.5, 0.9, 1.0])),
        mirror_axes=draw(st.sampled_from([(), (0,), tuple(range(axes))])),
    )
    return (2, *draw(st.lists(st.integers(1, 12), min_size=3, max_size=3))), window


@given(windows(), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_a_network_that_copies_gives_the_image_back(example: tuple[tuple[int, ...], SlidingWindow], seed: int) -> None:
    shape, window = example
    data = image(shape, seed)
    before = data.clone()
    logits = predict(data, window, Copy())
    assert logits.shape == shape
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, before, rtol=1e-5, atol=1e-5)
    assert torch.equal(data, before)


@given(windows())
@settings(max_examples=30, deadline=None)
def test_a_constant_network_gives_a_constant(example: tuple[tuple[int, ...], SlidingWindow]) -> None:
    shape, window = example
    logits = predict(image(shape), window, Constant(-3.5))
    torch.testing.assert_close(logits, torch.full(shape, -3.5), rtol=1e-5, atol=0)


@pytest.mark.parametrize("patch", [(4, 6, 5), (6, 5)])
def test_patches_computed_together_change_nothing(patch: tuple[int, ...]) -> None:
    data = image((1, 9, 11, 10))
    results = [predict(data, SlidingWindow(patch, size), Neighbour(0)) for size in (1, 3, 1000)]
    assert not torch.allclose(results[0], data, atol=0.1)
    torch.testing.assert_close(results[1], results[0], rtol=0, atol=0)
    torch.testing.assert_close(results[2], results[0], rtol=0, atol=0)


def test_overlapping_patches_are_averaged_with_their_weights() -> None:
    logits = predict(image((1, 6, 4, 4)), SlidingWindow((4, 4, 4), 1), Ramp())[0, :, 2, 2]
    weight = gaussian_weight((4, 4, 4))[:, 2, 2]
    total, weights = torch.zeros(6), torch.zeros(6)
    for start in (0, 2):
        total[start : start + 4] += weight * torch.arange(4.0)
        weights[start : start + 4] += weight
    torch.testing.assert_close(logits, total / weights)
    assert logits[3] != 3


@pytest.mark.parametrize("mirror_axes", [(0,), (1,), (2,), (0, 2), (0, 1, 2)])
def test_mirroring_averages_all_combinations_of_flips(mirror_axes: tuple[int, ...]) -> None:
    data = image((1, 4, 5, 6))
    network = nn.Sequential(Neighbour(0), Neighbour(1), Neighbour(2), nn.Tanh())
    logits = predict(data, SlidingWindow((4, 5, 6), 1, mirror_axes=mirror_axes), network)
    terms = []
    for count in range(len(mirror_axes) + 1):
        for axes in itertools.combinations(mirror_axes, count):
            flips = tuple(axis + 2 for axis in axes)
            terms.append(network(data[None].flip(flips)).flip(flips)[0])
    assert len(terms) == 2 ** len(mirror_axes)
    torch.testing.assert_close(logits, torch.stack(terms).mean(0))
    assert not torch.allclose(logits, terms[0], atol=1e-2)


def test_mirroring_of_slices_flips_in_the_plane() -> None:
    """Axis 0 of a flat patch is the image's axis 1."""
    data = image((1, 2, 4, 5))
    logits = predict(data, SlidingWindow((4, 5), 1, mirror_axes=(0,)), Ramp())
    torch.testing.assert_close(logits, torch.full((1, 2, 4, 5), 1.5))


def test_networks_are_averaged() -> None:
    logits = predict(image((1, 5, 5, 5)), SlidingWindow((4, 4, 4), 2), Constant(1), Constant(2), Constant(6))
    torch.testing.assert_close(logits, torch.full((1, 5, 5, 5), 3.0))


def test_more_classes_than_channels() -> None:
    network = nn.Conv3d(1, 3, 1)
    with torch.inference_mode():
        expected = network(image((1, 5, 6, 7))[None])[0]
    logits = predict_logits(
        [network], image((1, 5, 6, 7)), 3, SlidingWindow((4, 4, 4), 2), torch.device("cpu"), torch.float32
    )
    torch.testing.assert_close(logits, expected)
    assert not logits.requires_grad


def test_logits_of_a_network_in_bfloat16_are_summed_in_single_precision() -> None:
    class Half(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.bfloat16()

    data = image((1, 9, 9, 9))
    logits = predict_logits(
        [Half()], data, 1, SlidingWindow((4, 4, 4), 2, mirror_axes=(0, 1, 2)), torch.device("cpu"), torch.bfloat16
    )
    torch.testing.assert_close(logits, data.bfloat16().float(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("precision", [torch.float32, torch.float16])
def test_logits_that_are_not_finite_are_refused(value: float, precision: torch.dtype) -> None:
    with pytest.raises(UserError, match="output is not finite") as caught:
        _require_finite(torch.stack([image((4, 5, 6)), torch.full((4, 5, 6), value)]), precision)
    assert str(caught.value.found).startswith("output 1 of 2")
    assert ("--precision fp32" in str(caught.value.remedy)) == (precision == torch.float16)
    _require_finite(image((2, 4, 5, 6)), precision)


def test_one_voxel_that_is_not_finite_is_found() -> None:
    data = image((2, 9, 10, 11))
    data[1, 8, 9, 10] = float("nan")
    with pytest.raises(UserError, match="output is not finite"):
        predict(data, SlidingWindow((4, 4, 4), 2), Copy())


def test_an_image_whose_logits_do_not_fit_is_refused_before_they_are_allocated() -> None:
    data = torch.zeros(1).expand(1, 2**14, 2**14, 2**14)
    with pytest.raises(UserError, match="Prediction needs more memory than there is") as caught:
        predict_logits((Copy(),), data, 100, SlidingWindow((4, 4, 4), 2), torch.device("cpu"), torch.float32)
    assert "16384 x 16384 x 16384 voxels after resampling, 100 classes" in str(caught.value.found)
    with pytest.raises(UserError, match="Prediction needs more memory than there is"):
        predict(torch.zeros(1, 3, 3, 3), SlidingWindow((2**12, 2**12, 2**13), 2), Copy())


def test_memory_that_runs_out_later_is_explained() -> None:
    class Greedy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.empty(2**60)

    with pytest.raises(UserError, match="Prediction ran out of memory"):
        predict(image((1, 8, 8, 8)), SlidingWindow((8, 8, 8), 1), Greedy())
