"""Normalisation against the formulas, computed plainly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from umseg.common.errors import UserError
from umseg.planning.intensity import IntensityStatistics
from umseg.planning.rules.normalizations import NORMALIZATIONS
from umseg.preprocess.normalize import normalize

STATISTICS = IntensityStatistics(
    mean=50.0, median=40.0, std=20.0, min=-10.0, max=200.0, percentile_00_5=0.0, percentile_99_5=150.0
)
channels = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=3, max_dims=3, max_side=6),
    elements=st.floats(-1000, 3000, width=32),
)


def test_ct_clips_and_standardises_by_the_data_set() -> None:
    channel = np.array([-500, 0, 50, 150, 900], dtype=np.float32).reshape(1, 1, 5)
    result = normalize(channel, "CTNormalization", statistics=STATISTICS)
    np.testing.assert_allclose(result.ravel(), [-2.5, -2.5, 0, 5, 5], rtol=1e-6)


def test_ct_without_statistics_names_the_remedy() -> None:
    with pytest.raises(UserError, match="umseg plan"):
        normalize(np.zeros((1, 1, 1), dtype=np.float32), "CTNormalization")


@settings(max_examples=50, deadline=None)
@given(channels)
def test_z_score_has_zero_mean_and_unit_deviation(channel: np.ndarray) -> None:
    result = normalize(channel, "ZScoreNormalization").astype(np.float64)
    deviation = channel.astype(np.float64).std()
    expected = (channel - channel.mean(dtype=np.float64)) / max(deviation, 1e-8)
    if deviation > 1e-2:
        np.testing.assert_allclose(result, expected, atol=1e-3)
        assert abs(result.mean()) < 1e-3
        assert abs(result.std() - 1) < 1e-3
    assert np.isfinite(result).all()


def test_z_score_with_a_mask_leaves_the_rest_alone() -> None:
    generator = np.random.default_rng(0)
    mask = generator.random((4, 5, 6)) < 0.5
    channel = np.where(mask, generator.normal(100, 7, mask.shape), 0).astype(np.float32)
    result = normalize(channel, "ZScoreNormalization", mask=mask)
    inside = channel[mask].astype(np.float64)
    np.testing.assert_allclose(result[mask], (inside - inside.mean()) / inside.std(), atol=1e-5)
    assert not result[~mask].any()


def test_z_score_with_an_empty_mask_changes_nothing() -> None:
    channel = np.zeros((2, 2, 2), dtype=np.float32)
    np.testing.assert_array_equal(normalize(channel, "ZScoreNormalization", mask=np.zeros((2, 2, 2), bool)), channel)


@settings(max_examples=50, deadline=None)
@given(channels)
def test_rescaling_reaches_both_ends(channel: np.ndarray) -> None:
    result = normalize(channel, "RescaleTo01Normalization")
    assert result.min() == 0
    spread = float(channel.max()) - float(channel.min())
    np.testing.assert_allclose(result.max(), min(1, spread / 1e-8), rtol=1e-6)


def test_rgb() -> None:
    channel = np.array([0, 51, 255], dtype=np.float32).reshape(1, 1, 3)
    np.testing.assert_allclose(normalize(channel, "RGBTo01Normalization").ravel(), [0, 0.2, 1], rtol=1e-6)


@pytest.mark.parametrize("value", [-1, 256])
def test_rgb_refuses_other_ranges(value: float) -> None:
    with pytest.raises(UserError, match="8-bit") as caught:
        normalize(np.full((1, 1, 2), value, dtype=np.float32), "RGBTo01Normalization")
    assert str(value) in str(caught.value)


def test_no_normalisation_keeps_the_values() -> None:
    channel = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    np.testing.assert_array_equal(normalize(channel, "NoNormalization"), channel)


def test_unknown_scheme_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match="CTNormalization, ZScoreNormalization") as caught:
        normalize(np.zeros((1, 1, 1), dtype=np.float32), "zscorenormalisation")
    assert caught.value.remedy == "Did you mean 'ZScoreNormalization'?"


@pytest.mark.parametrize("scheme", NORMALIZATIONS)
def test_the_input_is_not_changed_and_the_result_is_new(scheme: str) -> None:
    channel = np.arange(27, dtype=np.float32).reshape(3, 3, 3)
    before = channel.copy()
    result = normalize(channel, scheme, mask=channel > 3, statistics=STATISTICS)
    np.testing.assert_array_equal(channel, before)
    assert result.dtype == np.float32
    assert not np.shares_memory(result, channel)
