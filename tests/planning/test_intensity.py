from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from umseg.planning.intensity import Draw, describe, draw_foreground, percentile


def listed(draw: Draw) -> np.ndarray:
    return np.repeat(draw.values, draw.counts)


def test_draw_equals_one_call_of_the_generator_per_channel() -> None:
    image = np.random.default_rng(0).normal(size=(2, 4, 5, 6)).astype(np.float32)
    foreground = image[0] > 0
    random = np.random.RandomState(1234)
    for channel, draw in zip(image, draw_foreground(image, foreground, 1000), strict=True):
        expected = random.choice(channel[foreground], 1000, replace=True)
        np.testing.assert_array_equal(listed(draw), np.sort(expected))


def test_draw_in_pieces_equals_one_draw() -> None:
    values = np.arange(100, dtype=np.float32).reshape(1, 4, 5, 5)
    samples = (1 << 20) * 2 + 17
    (draw,) = draw_foreground(values, np.ones((4, 5, 5), bool), samples)
    expected = np.random.RandomState(1234).choice(values.ravel(), samples, replace=True)
    np.testing.assert_array_equal(draw.counts, np.bincount(expected.astype(int)))


def test_equal_intensities_are_counted_together() -> None:
    image = np.array([7, 7, 7, 3], np.float32).reshape(1, 1, 2, 2)
    (draw,) = draw_foreground(image, np.ones((1, 2, 2), bool), 400)
    assert draw.values.tolist() == [3, 7]
    assert draw.counts.sum() == 400


def test_no_foreground_gives_an_empty_draw() -> None:
    (draw,) = draw_foreground(np.ones((1, 2, 2, 2), np.float32), np.zeros((2, 2, 2), bool), 10)
    assert draw.values.size == draw.counts.size == 0
    with pytest.raises(ValueError, match="no intensities"):
        describe([draw])


floats = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**40), max_value=2.0**40)
samples = hnp.arrays(np.float32, st.integers(1, 60), elements=floats | st.integers(-3, 3).map(float))


@settings(max_examples=50, deadline=None)
@given(st.lists(samples, min_size=1, max_size=4))
def test_statistics_equal_numpys_over_the_listed_draws(parts: list[np.ndarray]) -> None:
    draws = []
    for part in parts:
        values, counts = np.unique(part, return_counts=True)
        draws.append(Draw(values, counts.astype(np.uint8)))
    everything = np.concatenate(parts).astype(np.float64)
    result = describe([*draws, Draw(np.empty(0, np.float32), np.empty(0, np.uint8))])
    scale = float(np.abs(everything).max()) * 1e-12
    assert result.mean == pytest.approx(everything.mean(), abs=scale)
    assert result.std == pytest.approx(everything.std(), rel=1e-9, abs=scale)
    assert (result.min, result.max) == (everything.min(), everything.max())
    assert result.median == pytest.approx(np.median(everything), rel=1e-12, abs=scale)
    for percent, mine in ((0.5, result.percentile_00_5), (99.5, result.percentile_99_5)):
        assert mine == pytest.approx(np.percentile(everything, percent), rel=1e-12, abs=scale)


def test_percentiles_tell_neighbouring_floats_apart() -> None:
    values = np.float32(1.0) + np.arange(5, dtype=np.float32) * np.finfo(np.float32).eps
    draw = Draw(values, np.ones(5, np.uint8))
    assert [percentile([draw], 5, percent) for percent in (0, 25, 50, 75, 100)] == values.tolist()
