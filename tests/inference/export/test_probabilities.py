"""Probabilities, chunk by chunk."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.inference.export.brute_force import ISOTROPIC, Grids, Shape, slabs
from umseg.inference.export import probabilities
from umseg.inference.export.grid import OutputGrid
from umseg.inference.export.probabilities import probability_chunks

SIZES = st.integers(1, 6)
SHAPES = st.tuples(SIZES, SIZES, SIZES)


def expected_of(values: NDArray[np.float32], regions: bool) -> NDArray[np.float64]:
    logits = values.astype(np.float64)
    if regions:
        sigmoid: NDArray[np.float64] = 1 / (1 + np.exp(-logits))
        return sigmoid
    powers = np.exp(logits - logits.max(axis=0))
    softmax: NDArray[np.float64] = powers / powers.sum(axis=0)
    return softmax


@settings(max_examples=100)
@given(
    old=SHAPES,
    new=SHAPES,
    spacing=st.sampled_from([ISOTROPIC, (9.0, 1.0, 1.0), (1.0, 9.0, 1.0)]),
    outputs=st.sampled_from([1, 2, 16, 19]),
    regions=st.booleans(),
    planes=st.one_of(st.none(), st.integers(1, 4)),
    height=st.integers(1, 6),
    cuts=st.sets(st.integers(1, 4), max_size=2),
    seed=st.integers(0, 2**32 - 1),
)
def test_probabilities_are_those_of_interpolated_logits(
    old: Shape,
    new: Shape,
    spacing: tuple[float, ...],
    outputs: int,
    regions: bool,
    planes: int | None,
    height: int,
    cuts: set[int],
    seed: int,
) -> None:
    grids = Grids.of(old, new, spacing)
    generator = np.random.default_rng(seed)
    weights = generator.choice(np.array([6e-8, 0.3, 1, 41], np.float32), size=old)
    sums = (generator.normal(0, 5, size=(outputs, *old)) * weights).astype(np.float32)
    expected = expected_of(grids.interpolated(sums / weights), regions)
    grid = OutputGrid.of(grids.properties, grids.configuration)
    strips = [row for row in sorted(cuts) if row < old[1] - 1]
    for on_device in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(probabilities, "is_on_device", lambda sums, on_device=on_device: on_device)
            patch.setattr(probabilities, "_TASK_NUMBERS", 50)
            patch.setattr(probabilities, "_DEVICE_NUMBERS", 50)
            result = np.full(expected.shape, np.nan)
            parts = slabs(sums, weights, height=height, strips=strips)
            for chunk in probability_chunks(parts, grid, regions=regions, planes=planes):
                assert planes is None or chunk.planes.start % planes == 0
                assert chunk.values.dtype == np.float32
                result[:, chunk.planes, chunk.rows] = chunk.values
        np.testing.assert_allclose(result, expected, rtol=0, atol=2e-6)


def test_extreme_logits() -> None:
    grids = Grids.of((2, 2, 3), (2, 2, 3))
    logits = np.zeros((3, 2, 2, 3), np.float32)
    logits[0], logits[1, 0], logits[2, 1] = -1e30, 1e30, 500
    for regions in (False, True):
        parts = slabs(logits, np.ones_like(logits[0]))
        grid = OutputGrid.of(grids.properties, grids.configuration)
        (chunk,) = probability_chunks(parts, grid, regions=regions)
        with np.errstate(over="ignore"):
            np.testing.assert_allclose(chunk.values, expected_of(logits, regions), rtol=0, atol=1e-6)


def test_models_go_in_step_whatever_their_slabs() -> None:
    """Chunks of the same rows cover the same planes, so that two models can be averaged plane by plane."""
    new = (11, 7, 6)
    steps = []
    for old, height in (((5, 4, 3), 2), ((9, 7, 6), 4)):
        grids = Grids.of(old, new)
        logits = np.random.default_rng(0).normal(size=(2, *old)).astype(np.float32)
        grid = OutputGrid.of(grids.properties, grids.configuration)
        chunks = probability_chunks(
            slabs(logits, np.ones(old, np.float32), height=height), grid, regions=False, planes=3
        )
        steps.append([(chunk.planes, chunk.rows, chunk.values.shape) for chunk in chunks])
    assert steps[0] == steps[1]
    assert [planes for planes, _, _ in steps[0]] == [slice(0, 3), slice(3, 6), slice(6, 9), slice(9, 11)]


def test_chunks_come_as_soon_as_they_are_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probabilities, "_CHUNK_NUMBERS", 2 * 2 * 5 * 6)
    grids = Grids.of((6, 5, 6), (6, 5, 6))
    asked: list[int] = []

    def watched() -> Any:
        logits = np.random.default_rng(0).normal(size=(2, 6, 5, 6)).astype(np.float32)
        for slab in slabs(logits, np.ones_like(logits[0]), height=2):
            asked.append(slab.start)
            yield slab

    chunks = probability_chunks(watched(), OutputGrid.same(grids.properties.shape_after_resampling), regions=False)
    first = list(itertools.islice(chunks, 1))
    assert first[0].planes == slice(0, 2)
    assert asked == [0]
    assert [chunk.planes.start for chunk in chunks] == [2, 4]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")
@pytest.mark.parametrize("regions", [False, True])
def test_a_gpu_gives_the_same(regions: bool) -> None:
    grids = Grids.of((5, 7, 9), (9, 12, 11))
    logits = np.random.default_rng(0).normal(0, 5, size=(19, 5, 7, 9)).astype(np.float32)
    expected = expected_of(grids.interpolated(logits), regions)
    grid = OutputGrid.of(grids.properties, grids.configuration)
    parts = (
        type(slab)(slab.sums.cuda(), slab.weights.cuda(), slab.start, slab.strip)
        for slab in slabs(logits, np.ones_like(logits[0]))
    )
    for chunk in probability_chunks(parts, grid, regions=regions):
        np.testing.assert_allclose(chunk.values, expected[:, chunk.planes, chunk.rows], rtol=0, atol=2e-6)
