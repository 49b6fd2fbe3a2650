from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.inference.windows.reference import (
    CPU,
    Constant,
    Copy,
    Neighbour,
    Ramp,
    brute_force,
    image,
    network,
    streamed,
)
from umseg.common.errors import UserError
from umseg.inference.windows.batches import BatchSize
from umseg.inference.windows.slab import Strip
from umseg.inference.windows.sliding_window import finished_slabs
from umseg.inference.windows.strips import divide, thinnest
from umseg.inference.windows.tiles import Tiles, gaussian_weight
from umseg.inference.windows.window import SlidingWindow


@st.composite
def examples(draw: st.DrawFn) -> tuple[tuple[int, ...], SlidingWindow]:
    """Shape of an image, smaller or larger than the patch, and a window of two or three axes."""
    axes = draw(st.sampled_from([2, 3]))
    window = SlidingWindow(
        patch=tuple(draw(st.lists(st.integers(2, 8), min_size=axes, max_size=axes))),
        batch_size=draw(st.integers(1, 5)),
        step=draw(st.sampled_from([0.25, 0.5, 0.9, 1.0])),
        mirror_axes=draw(st.sampled_from([(), (0,), tuple(range(axes))])),
    )
    return (1, *draw(st.lists(st.integers(1, 12), min_size=3, max_size=3))), window


def tiles_of(shape: tuple[int, ...], window: SlidingWindow) -> Tiles:
    return Tiles.covering(shape[-3:], window.patch, window.step)


@given(examples(), st.integers(0, 1000), st.integers(1, 2))
@settings(max_examples=30, deadline=None)
def test_labels_and_logits_are_those_of_the_whole_image_in_double_precision(
    example: tuple[tuple[int, ...], SlidingWindow], seed: int, folds: int
) -> None:
    shape, window = example
    data = image(shape, seed)
    before = data.clone()
    networks = [network(len(window.patch), seed=fold) for fold in range(folds)]
    logits = streamed(networks, data, 3, window)
    expected = brute_force(networks, data, 3, window)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits.double(), expected, rtol=0, atol=1e-5)
    assert torch.equal(logits.argmax(0), expected.argmax(0))
    assert torch.equal(data, before)


@given(examples(), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_strips_change_no_bit(example: tuple[tuple[int, ...], SlidingWindow], most: int) -> None:
    shape, window = example
    window = SlidingWindow(window.patch, 1, window.step, window.mirror_axes)
    data, networks = image(shape), [network(len(window.patch))]
    whole = streamed(networks, data, 3, window)
    tiles = tiles_of(shape, window)
    for rows in range(thinnest(tiles), shape[2]):
        strips = divide(tiles, rows)
        assert strips is not None
        assert len(strips) > 1
        assert torch.equal(streamed(networks, data, 3, window, strips), whole)


def test_many_classes_odd_sizes_and_strips_of_any_height() -> None:
    data, networks = image((1, 23, 31, 17)), [network(3, classes=40)]
    window = SlidingWindow((8, 9, 10), 1)
    expected = brute_force(networks, data, 40, window)
    for strips in ([Strip(0, 31)], [Strip(0, 12), Strip(11, 31)], [Strip(n, n + 2) for n in range(30)]):
        logits = streamed(networks, data, 40, window, strips)
        torch.testing.assert_close(logits.double(), expected, rtol=0, atol=1e-5)
        assert torch.equal(logits.argmax(0), expected.argmax(0))


def test_regions_are_as_likely_as_in_double_precision() -> None:
    data, networks = image((1, 12, 13, 14)), [network(3)]
    window = SlidingWindow((6, 6, 6))
    expected = brute_force(networks, data, 3, window) > 0
    assert expected.any()
    assert torch.equal(streamed(networks, data, 3, window) > 0, expected)


@given(examples())
@settings(max_examples=30, deadline=None)
def test_a_constant_network_gives_a_constant(example: tuple[tuple[int, ...], SlidingWindow]) -> None:
    shape, window = example
    logits = streamed([Constant(-3.5)], image(shape), 1, window)
    # Up to a thousand numbers are added in single precision.
    torch.testing.assert_close(logits, torch.full(shape, -3.5), rtol=1e-4, atol=0)


@pytest.mark.parametrize("patch", [(4, 6, 5), (6, 5)])
def test_windows_computed_together_change_nothing(patch: tuple[int, ...]) -> None:
    data = image((1, 9, 11, 10))
    results = [streamed([Neighbour(0)], data, 1, SlidingWindow(patch, size)) for size in (1, 3, 1000, None)]
    assert not torch.allclose(results[0], data, atol=0.1)
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=0, atol=0)


def test_windows_of_several_slices_are_computed_together() -> None:
    sizes = []

    class Counted(Copy):
        def forward(self, x: Tensor) -> Tensor:
            sizes.append(len(x))
            return super().forward(x)

    streamed([Counted()], image((1, 5, 6, 6)), 1, SlidingWindow((6, 6), 4))
    assert sizes == [4, 1]


def test_overlapping_windows_are_averaged_with_their_weights() -> None:
    logits = streamed([Ramp()], image((1, 6, 4, 4)), 1, SlidingWindow((4, 4, 4), 1))[0, :, 2, 2]
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
    one = nn.Sequential(Neighbour(0), Neighbour(1), Neighbour(2), nn.Tanh())
    logits = streamed([one], data, 1, SlidingWindow((4, 5, 6), 1, mirror_axes=mirror_axes))
    terms = []
    for count in range(len(mirror_axes) + 1):
        for axes in itertools.combinations(mirror_axes, count):
            flips = tuple(axis + 2 for axis in axes)
            terms.append(one(data[None].flip(flips)).flip(flips)[0])
    assert len(terms) == 2 ** len(mirror_axes)
    torch.testing.assert_close(logits, torch.stack(terms).mean(0))
    assert not torch.allclose(logits, terms[0], atol=1e-2)


def test_mirroring_of_slices_flips_in_the_plane() -> None:
    """Axis 0 of a flat patch is the image's axis 1."""
    data = image((1, 2, 4, 5))
    logits = streamed([Ramp()], data, 1, SlidingWindow((4, 5), 1, mirror_axes=(0,)))
    torch.testing.assert_close(logits, torch.full((1, 2, 4, 5), 1.5))


def test_networks_are_averaged() -> None:
    networks = [Constant(1), Constant(2), Constant(6)]
    logits = streamed(networks, image((1, 5, 5, 5)), 1, SlidingWindow((4, 4, 4), 2))
    torch.testing.assert_close(logits, torch.full((1, 5, 5, 5), 3.0))


@pytest.mark.parametrize("mirror_axes", [(), (0, 2)])
@pytest.mark.parametrize("folds", [1, 3])
def test_sums_of_folds_or_flips_are_kept_apart(folds: int, mirror_axes: tuple[int, ...]) -> None:
    data, networks = image((1, 9, 7, 8)), [network(3, seed=fold) for fold in range(folds)]
    window = SlidingWindow((4, 4, 4), 2, mirror_axes=mirror_axes, separate=True)
    plain = SlidingWindow((4, 4, 4), 2, mirror_axes=mirror_axes)
    if folds > 1:
        expected = [brute_force([one], data, 3, plain) for one in networks]
    else:
        flips = [axes for count in range(len(mirror_axes) + 1) for axes in itertools.combinations(mirror_axes, count)]
        expected = [brute_force([_Flipped(networks[0], axes)], data, 3, SlidingWindow((4, 4, 4))) for axes in flips]
    members = torch.full((len(expected), 3, 9, 7, 8), float("nan"))
    mean = brute_force(networks, data, 3, plain)
    strips = divide(tiles_of((1, 9, 7, 8), window), 4)
    assert strips is not None
    for slab in finished_slabs(networks, data, 3, window, CPU, torch.float32, strips=strips):
        planes, rows = slice(slab.start, slab.start + len(slab.weights)), slice(slab.strip.start, slab.strip.stop)
        torch.testing.assert_close(slab.logits.double(), mean[:, planes, rows], rtol=0, atol=1e-5)
        if slab.member_sums is not None:
            members[:, :, planes, rows] = slab.member_sums / slab.weights
        else:
            assert len(expected) == 1
    if len(expected) > 1:
        torch.testing.assert_close(members.double(), torch.stack(expected), rtol=0, atol=1e-5)


class _Flipped(nn.Module):
    def __init__(self, inner: nn.Module, axes: tuple[int, ...]) -> None:
        super().__init__()
        self.inner, self.flips = inner, [axis + 2 for axis in axes]

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(x.flip(self.flips)).flip(self.flips)
        return logits


def test_logits_do_not_require_gradients() -> None:
    logits = streamed([network(3)], image((1, 5, 6, 7)), 3, SlidingWindow((4, 4, 4), 2))
    assert not logits.requires_grad


def test_logits_of_a_network_in_bfloat16_are_summed_in_single_precision() -> None:
    class Half(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.bfloat16()

    data = image((1, 9, 9, 9))
    window = SlidingWindow((4, 4, 4), 2, mirror_axes=(0, 1, 2))
    logits = streamed([Half()], data, 1, window, precision=torch.bfloat16)
    torch.testing.assert_close(logits, data.bfloat16().float(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("length", [20, 200])
def test_memory_does_not_grow_with_the_length_of_the_image(length: int) -> None:
    data, networks, window = image((1, length, 9, 10)), [network(3)], SlidingWindow((8, 8, 8), 1)
    storages, planes = set(), 0
    for slab in finished_slabs(networks, data, 3, window, CPU, torch.float32, strips=[Strip(0, 9)]):
        storages.add((slab.sums.untyped_storage().data_ptr(), slab.sums.untyped_storage().nbytes()))
        planes += len(slab.weights)
    assert planes == length
    assert [size for _, size in storages] == [4 * 3 * 8 * 9 * 10]


def test_strips_share_their_memory() -> None:
    data, networks, window = image((1, 9, 30, 10)), [network(3)], SlidingWindow((8, 8, 8), 1)
    strips = [Strip(0, 11), Strip(10, 21), Strip(20, 30)]
    slabs = list(finished_slabs(networks, data, 3, window, CPU, torch.float32, strips=strips))
    assert {slab.strip for slab in slabs} == set(strips)
    assert len({slab.sums.untyped_storage().data_ptr() for slab in slabs}) == 1


def test_progress_counts_the_windows_of_all_strips() -> None:
    told: list[tuple[int, int]] = []
    window = SlidingWindow((4, 4, 4), 1)
    strips = [Strip(0, 4), Strip(3, 8)]
    streamed([Copy()], image((1, 4, 8, 4)), 1, window, strips, progress=lambda *n: told.append(n))
    # Windows begin in rows 0, 2 and 4. Two of them touch the first strip, all of them the second.
    assert told == [(n, 5) for n in range(1, 6)]


def test_the_number_of_windows_is_kept_for_the_next_image() -> None:
    batch = BatchSize(2, measured=True, clock=iter(range(1000)).__next__)
    data = image((1, 4, 4, 40))
    streamed([Copy()], data, 1, SlidingWindow((4, 4, 4)), batch=batch)
    assert batch.settled
    assert batch.size == 2


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_one_voxel_that_is_not_finite_is_found(value: float) -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([x.nan_to_num(posinf=0), x], dim=1)

    data = image((1, 9, 10, 11))
    data[0, 8, 9, 10] = value
    with pytest.raises(UserError, match="output is not finite") as caught:
        streamed([Two()], data, 2, SlidingWindow((4, 4, 4), 2))
    assert str(caught.value.found).startswith("output 1 of 2")


def test_memory_that_runs_out_is_explained() -> None:
    class Greedy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.empty(2**60)

    with pytest.raises(UserError, match="Prediction ran out of memory") as caught:
        streamed([Greedy()], image((1, 8, 8, 8)), 1, SlidingWindow((8, 8, 8), 1))
    assert "8 x 8 x 8 voxels after resampling, 1 classes" in str(caught.value.found)
