from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from umseg.kernels.accumulate.add import _add_at_once, _add_planes, add_weighted

PATCH = (4, 5, 6)


def random(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("add", [_add_planes, _add_at_once])
@given(
    classes=st.sampled_from([1, 2, 3, 17]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    innermost=st.booleans(),
    target=st.tuples(*[st.integers(0, 6)] * 3),
    source=st.tuples(*[st.integers(0, 3)] * 3),
    flips=st.sets(st.integers(0, 2)),
)
@settings(max_examples=40, deadline=None)
def test_a_part_of_a_window_is_added_where_it_belongs(
    add: Callable[..., None],
    classes: int,
    dtype: torch.dtype,
    innermost: bool,
    target: tuple[int, int, int],
    source: tuple[int, int, int],
    flips: set[int],
) -> None:
    sums, weight = random((7, 8, 9, classes), 0), random(PATCH, 1)
    logits = random((classes, *PATCH), 2).to(dtype)
    if innermost:
        logits = logits.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)
    expected = sums.double()
    weighted = (logits.flip([axis + 1 for axis in flips]).double() * weight.double()).permute(1, 2, 3, 0)
    counts = [min(s - t, p - o) for s, t, p, o in zip(sums.shape, target, PATCH, source, strict=False)]
    into = tuple(slice(t, t + n) for t, n in zip(target, counts, strict=True))
    expected[into] += weighted[tuple(slice(o, o + n) for o, n in zip(source, counts, strict=True))]
    add(sums, logits, weight, target, source, tuple(flips))
    torch.testing.assert_close(sums.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no NVIDIA GPU")
@pytest.mark.parametrize("flips", [(), (0, 2)])
def test_a_gpu_adds_the_same(flips: tuple[int, ...]) -> None:
    sums, weight, logits = random((7, 8, 9, 17), 0), random(PATCH, 1), random((17, *PATCH), 2).bfloat16()
    on_gpu = sums.cuda()
    add_weighted(on_gpu, logits.cuda(), weight.cuda(), (1, 2, 6), (1, 0, 2), flips)
    add_weighted(sums, logits, weight, (1, 2, 6), (1, 0, 2), flips)
    torch.testing.assert_close(on_gpu.cpu(), sums, rtol=1e-5, atol=1e-6)
