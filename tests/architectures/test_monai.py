from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umseg.architectures.monai import BASELINES, rounded_patch


@pytest.mark.parametrize(
    ("model", "patch", "expected"),
    [
        ("segresnet", (40, 224, 192), (40, 224, 192)),
        ("segresnet", (20, 256, 221), (24, 256, 224)),
        ("unetr", (40, 224, 192), (48, 224, 192)),
        ("swin_unetr", (40, 56, 40), (64, 64, 64)),
        ("swin_unetr", (384, 640), (384, 640)),
        ("swin_unetr", (20, 32, 8), (64, 64, 64)),
    ],
)
def test_patches_are_rounded_up(model: str, patch: tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert rounded_patch(model, patch) == expected


@given(st.sampled_from(sorted(BASELINES)), st.lists(st.integers(1, 300), min_size=2, max_size=3))
def test_rounded_patches_are_the_next_that_fit(model: str, patch: list[int]) -> None:
    divisor, rounded = BASELINES[model].divisor, rounded_patch(model, patch)
    assert all(size % divisor == 0 for size in rounded)
    assert all(size <= full for size, full in zip(patch, rounded, strict=True))
    assert rounded_patch(model, rounded) == rounded
    assert max(rounded) >= 2 * divisor
    if max(patch) > divisor:
        assert all(full - size < divisor for size, full in zip(patch, rounded, strict=True))
