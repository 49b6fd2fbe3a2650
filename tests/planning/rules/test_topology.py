from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umseg.planning.rules.topology import MIN_BOTTLENECK_EDGE, plan_topology


def digits(rows: tuple[tuple[int, ...], ...]) -> str:
    return " ".join("".join(map(str, row)) for row in rows)


@pytest.mark.parametrize(
    ("spacing", "patch", "pools", "strides", "kernels"),
    [
        ((1, 1, 1), (128, 128, 128), (5, 5, 5), "111 222 222 222 222 222", "333 333 333 333 333 333"),
        ((2.5, 0.8, 0.8), (40, 224, 192), (3, 5, 5), "111 122 222 222 222 122", "133 333 333 333 333 333"),
        ((3, 1, 1), (32, 256, 256), (3, 6, 6), "111 122 222 222 222 122 122", "133 333 333 333 333 333 333"),
        ((5, 1.5625, 1.5625), (20, 256, 224), (2, 5, 5), "111 122 222 222 122 122", "133 333 333 333 333 333"),
    ],
)
def test_golden_stages(
    spacing: tuple[float, ...], patch: tuple[int, ...], pools: tuple[int, ...], strides: str, kernels: str
) -> None:
    topology = plan_topology(spacing, patch)
    assert topology.num_pool_per_axis == pools
    assert digits(topology.strides) == strides
    assert digits(topology.kernel_sizes) == kernels
    assert topology.patch_size == patch
    assert topology.num_stages == len(strides.split())


@pytest.mark.parametrize(
    ("spacing", "patch", "padded", "pools"),
    [
        ((5, 1.5625, 1.5625), (18, 237, 208), (20, 256, 224), (2, 5, 5)),
        ((1, 1), (37, 53), (40, 56), (3, 3)),
        ((1, 1, 1), (9, 12, 16), (10, 12, 16), (1, 1, 1)),
        ((1, 1, 1), (7, 7, 7), (7, 7, 7), (0, 0, 0)),
        ((0.3, 0.3, 0.3), (64, 64, 13), (64, 64, 14), (4, 4, 1)),
        ((6.5, 1.3, 1.3), (6.5, 16, 16), (7, 16, 16), (0, 2, 2)),
    ],
)
def test_golden_padding(
    spacing: tuple[float, ...], patch: tuple[float, ...], padded: tuple[int, ...], pools: tuple[int, ...]
) -> None:
    topology = plan_topology(spacing, patch)
    assert (topology.patch_size, topology.num_pool_per_axis) == (padded, pools)


axes = st.integers(2, 3).flatmap(
    lambda n: st.tuples(
        st.lists(st.floats(0.1, 10), min_size=n, max_size=n), st.lists(st.integers(1, 600), min_size=n, max_size=n)
    )
)


@given(axes)
def test_patch_fits_the_strides(case: tuple[list[float], list[int]]) -> None:
    spacing, patch = case
    topology = plan_topology(spacing, patch)
    for axis, size in enumerate(patch):
        total = math.prod(stride[axis] for stride in topology.strides)
        assert total == topology.divisor[axis] == 2 ** topology.num_pool_per_axis[axis]
        assert 0 <= topology.patch_size[axis] - size < total
        assert total == 1 or topology.patch_size[axis] // total >= MIN_BOTTLENECK_EDGE


@given(axes)
def test_kernels_only_grow_and_end_with_three(case: tuple[list[float], list[int]]) -> None:
    topology = plan_topology(*case)
    assert len(topology.kernel_sizes) == len(topology.strides) == topology.num_stages
    assert set(topology.kernel_sizes[-1]) == {3}
    for before, after in zip(topology.kernel_sizes, topology.kernel_sizes[1:], strict=False):
        assert all(b <= a for b, a in zip(before, after, strict=True))


@given(axes)
def test_padding_a_padded_patch_changes_nothing(case: tuple[list[float], list[int]]) -> None:
    spacing, patch = case
    topology = plan_topology(spacing, patch)
    again = plan_topology(spacing, topology.patch_size)
    # A padded axis may just reach the size for another halving; then the divisor has grown.
    assert again == topology or any(a > b for a, b in zip(again.divisor, topology.divisor, strict=True))
