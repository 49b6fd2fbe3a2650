from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.models.plans import BASELINES
from umseg.architectures.registry import network_spec
from umseg.architectures.spec import ModelSpec


@pytest.mark.parametrize(
    ("model", "patch", "expected"),
    [
        ("segresnet", (40, 224, 192), (40, 224, 192)),
        ("segresnet", (20, 256, 221), (24, 256, 224)),
        ("unetr", (40, 224, 192), (48, 224, 192)),
        ("swin_unetr", (40, 56, 40), (64, 64, 64)),
        ("swin_unetr", (384, 640), (384, 640)),
        ("swin_unetr", (20, 32, 8), (64, 64, 64)),
        ("umamba_enc", (1, 17, 40), (1, 17, 40)),
    ],
)
def test_patches_are_rounded_up(model: str, patch: tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert network_spec(model).rounded_patch(patch) == expected


@given(st.sampled_from(sorted(BASELINES)), st.lists(st.integers(1, 300), min_size=2, max_size=3))
def test_rounded_patches_are_the_next_that_fit(model: str, patch: list[int]) -> None:
    spec = network_spec(model)
    divisor, rounded = spec.patch_divisor, spec.rounded_patch(patch)
    assert all(size % divisor == 0 for size in rounded)
    assert all(size <= full for size, full in zip(patch, rounded, strict=True))
    assert spec.rounded_patch(rounded) == rounded
    assert max(rounded) >= 2 * divisor
    if max(patch) > divisor:
        assert all(full - size < divisor for size, full in zip(patch, rounded, strict=True))


def test_a_network_needs_something_to_build_it() -> None:
    with pytest.raises(ValueError, match="'nothing'"):
        ModelSpec("nothing", "nowhere")
