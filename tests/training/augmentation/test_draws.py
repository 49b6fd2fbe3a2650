"""20,000 draws of every parameter against the stated distribution (docs/rules.md, Augmentation)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from umseg.training.augmentation.draws import Draws, draw
from umseg.training.augmentation.geometry import patch_geometry
from umseg.training.augmentation.style import STYLES

Distribution = Callable[[NDArray[np.float64]], NDArray[np.float64]]

DRAWS = 20_000
SAMPLES = 105_000
CHANNELS = 2
ANGLE = np.pi / 6
# Name, value that means "not this sample", and how often a sample, and then a channel of it, is chosen.
CHOICES = {
    "angles": (0.0, 0.2, 1.0),
    "zoom": (1.0, 0.2, 1.0),
    "noise": (0.0, 0.1, 1.0),
    "blur": (0.0, 0.2, 0.5),
    "brightness": (1.0, 0.15, 1.0),
    "contrast": (1.0, 0.15, 1.0),
    "resolution": (1.0, 0.25, 0.5),
    "gamma_inverted": (1.0, 0.1, 1.0),
    "gamma": (1.0, 0.3, 1.0),
}


def uniform(low: float, high: float) -> Distribution:
    return stats.uniform(low, high - low).cdf


def halves(low: float, high: float) -> Distribution:
    """Half of the draws uniform in (low, 1), half in (1, high)."""
    below, above = uniform(low, 1), uniform(1, high)
    return lambda x: (below(x) + above(x)) / 2


DISTRIBUTIONS = {
    "angles": uniform(-ANGLE, ANGLE),
    "zoom": halves(0.7, 1.4),
    "noise": uniform(0, 0.1),
    "blur": uniform(0.5, 1),
    "brightness": uniform(0.75, 1.25),
    "contrast": halves(0.75, 1.25),
    "resolution": uniform(0.5, 1),
    "gamma_inverted": halves(0.7, 1.5),
    "gamma": halves(0.7, 1.5),
}


@pytest.fixture(scope="module")
def draws() -> Draws:
    """So many samples that even what is done to one in ten is drawn 20,000 times, by channel."""
    return draw(np.random.default_rng(5), 2 * SAMPLES, CHANNELS, patch_geometry((16, 16, 16)))


def table(draws: Draws, name: str) -> NDArray[np.float64]:
    """(samples, angles or channels or 1)."""
    values = getattr(draws, name)
    if name == "blur":
        # One width for all axes.
        assert (values == values[..., :1]).all()
        values = values[..., 0]
    return values.reshape(len(values), -1)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_parameters_follow_the_stated_distribution(draws: Draws, name: str) -> None:
    values = table(draws, name)
    # Per column, or the channels of a sample, which are chosen together, would count twice.
    for column in values.T:
        applied = column[column != CHOICES[name][0]]
        assert len(applied) >= DRAWS
        assert stats.kstest(applied[:DRAWS], DISTRIBUTIONS[name]).pvalue > 0.005


@pytest.mark.parametrize("name", CHOICES)
def test_samples_and_channels_are_chosen_as_often_as_stated(draws: Draws, name: str) -> None:
    unchanged, per_sample, per_channel = CHOICES[name]
    chosen = table(draws, name) != unchanged
    columns = chosen.shape[1]
    for probability, found in (
        (per_sample * per_channel, chosen[:, 0]),
        (per_sample * (1 - (1 - per_channel) ** columns), chosen.any(axis=1)),
    ):
        assert stats.binomtest(int(found.sum()), len(found), probability).pvalue > 0.005


def test_newer_nnunet_zooms_uniformly_and_blurs_each_axis_by_itself() -> None:
    found = draw(np.random.default_rng(6), SAMPLES, 1, patch_geometry((16, 16, 16)), STYLES["nnunet"])
    zoom = found.zoom[found.zoom != 1][:DRAWS]
    assert stats.kstest(zoom, uniform(0.7, 1.4)).pvalue > 0.005
    assert stats.binomtest(int((found.zoom != 1).sum()), SAMPLES, 0.2).pvalue > 0.005
    widths = found.blur[:, 0][found.blur[:, 0].any(axis=1)]
    assert stats.binomtest(len(widths), SAMPLES, 0.1).pvalue > 0.005
    for axis in range(3):
        assert stats.kstest(widths[:, axis], uniform(0.5, 1)).pvalue > 0.005
        assert abs(stats.spearmanr(widths[:, axis], widths[:, axis - 1]).statistic) < 4 / np.sqrt(len(widths))


def test_axes_are_mirrored_half_of_the_time_and_by_themselves(draws: Draws) -> None:
    patterns, counts = np.unique(draws.mirrored[:DRAWS], axis=0, return_counts=True)
    assert len(patterns) == 8
    assert stats.chisquare(counts).pvalue > 0.005


def test_what_is_drawn_is_independent(draws: Draws) -> None:
    """Between channels, angles and transforms, both whether and how much."""
    columns = {f"{name} {i}": column for name in CHOICES for i, column in enumerate(table(draws, name).T)}
    values = np.stack([*columns.values(), *draws.mirrored.T])
    # Within one transform the choice of the sample is shared, so that values there may only differ in how much.
    for name, (unchanged, *_) in CHOICES.items():
        pair = [column for key, column in columns.items() if key.startswith(f"{name} ")]
        both = [column[np.all([c != unchanged for c in pair], axis=0)] for column in pair]
        if len(pair) > 1:
            assert abs(stats.spearmanr(both[0], both[1]).statistic) < 4 / np.sqrt(len(both[0]))
    correlation = np.corrcoef(values)
    names = [key.split()[0] for key in columns] + ["mirrored"] * 3
    others = np.array([[a != b for b in names] for a in names])
    assert abs(correlation[others]).max() < 5 / np.sqrt(values.shape[1])


@pytest.mark.parametrize(("patch", "degrees"), [((24, 20), 180), ((20, 40), 15), ((4, 16, 16), 180)])
def test_in_a_plane_there_is_one_angle(patch: tuple[int, ...], degrees: float) -> None:
    angles = draw(np.random.default_rng(1), SAMPLES, 1, patch_geometry(patch)).angles
    assert angles.shape == (SAMPLES, 1)
    largest = np.deg2rad(degrees)
    assert stats.kstest(angles[angles != 0][:DRAWS], uniform(-largest, largest)).pvalue > 0.005


def test_a_seed_fixes_the_draws() -> None:
    geometry = patch_geometry((16, 16))
    first, again, other = (draw(np.random.default_rng(seed), 64, 3, geometry) for seed in (1, 1, 2))
    for name in Draws.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
        assert not np.array_equal(getattr(first, name), getattr(other, name))
