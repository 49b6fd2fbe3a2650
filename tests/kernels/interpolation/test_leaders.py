"""Searches of the largest and the second largest number."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from umseg.kernels.interpolation import label_kernels

WIDTH = 37
COUNTS = [1, 2, 3, 15, 16, 17, 31, 48, 49, 64, 118, 300]


def leaders(sums: NDArray[np.float32], weights: NDArray[np.float32] | None = None) -> NDArray[np.int32]:
    result = np.full(sums.shape[:2], -9, np.int32)
    weights = np.ones(sums.shape[:2], np.float32) if weights is None else weights
    label_kernels.lead_classes(sums, weights, 0, len(sums), result)
    return result


@pytest.mark.parametrize("classes", COUNTS)
def test_the_largest_leads(classes: int) -> None:
    generator = np.random.default_rng(classes)
    sums = generator.permuted(np.tile(np.arange(classes, dtype=np.float32), (5, WIDTH, 1)), axis=2)
    np.testing.assert_array_equal(leaders(sums - classes), sums.argmax(axis=2))
    # Whatever the weights, sums and logits have the same order.
    weights = generator.choice(np.array([6e-8, 1, 30], np.float32), size=sums.shape[:2])
    np.testing.assert_array_equal(leaders(sums, weights), sums.argmax(axis=2))


@pytest.mark.parametrize("classes", [count for count in COUNTS if count > 1])
def test_none_leads_where_two_are_nearly_equal(classes: int) -> None:
    generator = np.random.default_rng(classes)
    sums = generator.permuted(np.tile(np.arange(classes, dtype=np.float32), (5, WIDTH, 1)), axis=2)
    first, second = np.argsort(-sums, axis=2)[..., 0], np.argsort(-sums, axis=2)[..., 1]
    equal = sums.copy()
    np.put_along_axis(equal, second[..., None], np.float32(classes - 1) * np.float32(1 - 2**-20), axis=2)
    assert (leaders(equal) == -1).all()
    np.put_along_axis(equal, second[..., None], np.float32(classes - 1) * np.float32(1 - 2**-16), axis=2)
    np.testing.assert_array_equal(leaders(equal), first)


def test_rows_are_written_by_themselves() -> None:
    sums = np.random.default_rng(0).normal(size=(6, WIDTH, 4)).astype(np.float32)
    result = np.full((6, WIDTH), -9, np.int32)
    label_kernels.lead_classes(sums, np.ones((6, WIDTH), np.float32), 2, 4, result)
    np.testing.assert_array_equal(result[2:4], sums[2:4].argmax(axis=2))
    assert (result[:2] == -9).all()
    assert (result[4:] == -9).all()


def test_the_last_positive_region_leads() -> None:
    sums = np.random.default_rng(0).integers(-1, 2, size=(6, WIDTH, 3)).astype(np.float32)
    result = np.full((6, WIDTH), -9, np.int32)
    label_kernels.lead_regions(sums, np.full((6, WIDTH), 2, np.float32), 0, 6, result)
    np.testing.assert_array_equal(result, ((sums > 0) * np.arange(1, 4)).max(axis=2))
