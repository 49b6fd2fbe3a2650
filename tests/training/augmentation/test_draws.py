"""20,000 draws of every parameter against the stated distribution (docs/rules.md, Augmentation)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from umseg.training.augmentation import Context, patch_geometry
from umseg.training.augmentation.pipelines import PIPELINES, TRANSFORMS
from umseg.training.augmentation.transform import draw_all, generator
from umseg.training.augmentation.transforms.channels import ChannelParams
from umseg.training.augmentation.transforms.noise import NoiseParams
from umseg.training.augmentation.transforms.spatial import SpatialParams

Distribution = Callable[[NDArray[np.float64]], NDArray[np.float64]]

DRAWS = 20_000
CHANNELS = 2
CUBE = Context(CHANNELS, patch_geometry((16, 16, 16)))
ANGLE = np.pi / 6
# How often a sample, and then a channel of it, is changed.
CHOICES = {
    "angles": (0.2, 1.0),
    "zoom": (0.2, 1.0),
    "noise": (0.1, 1.0),
    "blur": (0.2, 0.5),
    "brightness": (0.15, 1.0),
    "contrast": (0.15, 1.0),
    "low_resolution": (0.25, 0.5),
    "gamma_inverted": (0.1, 1.0),
    "gamma": (0.3, 1.0),
}
# Enough samples that even a transform of one in ten is drawn 20,000 times, by channel.
SAMPLES = {name: int(1.05 * DRAWS / np.prod(choice)) for name, choice in CHOICES.items()}


def uniform(low: float, high: float) -> Distribution:
    return lambda x: np.asarray(stats.uniform.cdf(x, low, high - low))


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
    "low_resolution": uniform(0.5, 1),
    "gamma_inverted": halves(0.7, 1.5),
    "gamma": halves(0.7, 1.5),
}


def values(params: Any, parameter: str, channels: int = CHANNELS) -> NDArray[np.float64]:
    """The values of each angle or channel of a sample, NaN where it is left unchanged."""
    if parameter == "angles":
        changed = params is not None and any(params.angles)
        return np.array(params.angles) if changed else np.full(3, np.nan)
    if parameter == "zoom":
        return np.array([params.zoom if params is not None and params.zoom != 1 else np.nan])
    if parameter == "noise":
        return np.array([params.deviation if params is not None else np.nan])
    row = np.full(channels, np.nan)
    if params is not None:
        # Blur and low resolution have a value per axis, in this pipeline the same one.
        across = params.values.reshape(len(params.channels), -1)
        assert (across == across[:, :1]).all()
        row[params.channels] = across[:, 0]
    return row


def table(drawn: list[Any], parameter: str) -> NDArray[np.float64]:
    """The values of many samples, (samples, angles or channels or 1)."""
    return np.stack([values(params, parameter) for params in drawn])


@cache
def many(parameter: str) -> NDArray[np.float64]:
    """The values of ``SAMPLES`` samples that are drawn from one generator."""
    transform = TRANSFORMS["spatial" if parameter in ("angles", "zoom") else parameter]
    rng = generator(5, parameter)
    return table([transform.draw(rng, CUBE) for _ in range(SAMPLES[parameter])], parameter)


def test_the_table_covers_the_whole_pipeline() -> None:
    names = {"spatial" if name in ("angles", "zoom") else name for name in CHOICES}
    assert names | {"mirror"} == {transform.name for transform in PIPELINES["umamba"]}


@pytest.mark.parametrize("parameter", DISTRIBUTIONS)
def test_parameters_follow_the_stated_distribution(parameter: str) -> None:
    # Column by column, because the channels of a sample, which are chosen together, would count twice.
    for column in many(parameter).T:
        applied = column[~np.isnan(column)]
        assert len(applied) >= DRAWS
        assert stats.kstest(applied[:DRAWS], DISTRIBUTIONS[parameter]).pvalue > 0.005


@pytest.mark.parametrize("parameter", CHOICES)
def test_samples_and_channels_are_chosen_as_often_as_stated(parameter: str) -> None:
    per_sample, per_channel = CHOICES[parameter]
    chosen = ~np.isnan(many(parameter))
    columns = chosen.shape[1]
    for probability, found in (
        (per_sample * per_channel, chosen[:, 0]),
        (per_sample * (1 - (1 - per_channel) ** columns), chosen.any(axis=1)),
    ):
        assert stats.binomtest(int(found.sum()), len(chosen), probability).pvalue > 0.005


@pytest.mark.parametrize("parameter", [name for name in CHOICES if name not in ("zoom", "noise")])
def test_angles_and_channels_are_drawn_independently(parameter: str) -> None:
    first, second = many(parameter).T[:2]
    both = np.asarray(~np.isnan(first) & ~np.isnan(second))
    assert abs(stats.spearmanr(first[both], second[both]).statistic) < 4 / np.sqrt(both.sum())


def test_newer_nnunet_zooms_uniformly_and_blurs_each_axis_by_itself() -> None:
    context, samples = Context(1, CUBE.geometry), 105_000
    spatial, blur = TRANSFORMS["spatial_linear"], TRANSFORMS["blur_by_axis"]
    assert {spatial, blur} <= set(PIPELINES["nnunet"])
    rng = generator(6, "spatial_linear")
    zoom = table([spatial.draw(rng, context) for _ in range(samples)], "zoom")[:, 0]
    zoomed = zoom[~np.isnan(zoom)]
    assert stats.kstest(zoomed[:DRAWS], uniform(0.7, 1.4)).pvalue > 0.005
    assert stats.binomtest(len(zoomed), samples, 0.2).pvalue > 0.005
    rng = generator(6, "blur_by_axis")
    drawn = [blur.draw(rng, context) for _ in range(samples)]
    widths = np.concatenate([params.values for params in drawn if params is not None])
    assert stats.binomtest(len(widths), samples, 0.1).pvalue > 0.005
    for axis in range(3):
        assert stats.kstest(widths[:, axis], uniform(0.5, 1)).pvalue > 0.005
        assert abs(stats.spearmanr(widths[:, axis], widths[:, axis - 1]).statistic) < 4 / np.sqrt(len(widths))


def mirrored(drawn: list[Any], axes: int = 3) -> NDArray[np.bool_]:
    return np.array([[axis - axes in (params or ()) for axis in range(axes)] for params in drawn])


def test_axes_are_mirrored_half_of_the_time_and_by_themselves() -> None:
    rng = generator(5, "mirror")
    drawn = [TRANSFORMS["mirror"].draw(rng, CUBE) for _ in range(DRAWS)]
    patterns, counts = np.unique(mirrored(drawn), axis=0, return_counts=True)
    assert len(patterns) == 8
    assert stats.chisquare(counts).pvalue > 0.005


def test_seeds_and_names_give_independent_draws() -> None:
    """Choice and strength correlate neither between the transforms of a sample nor between consecutive seeds."""
    seeds = range(DRAWS)
    drawn = {transform.name: draw_all(transform, seeds, CUBE) for transform in PIPELINES["umamba"]}
    columns = []
    for parameter, choice in CHOICES.items():
        found = table(drawn["spatial" if parameter in ("angles", "zoom") else parameter], parameter)
        chosen = ~np.isnan(found[:, 0])
        assert stats.binomtest(int(chosen.sum()), DRAWS, np.prod(choice)).pvalue > 0.002, parameter
        columns += [chosen.astype(float), np.where(chosen, found[:, 0] - np.nanmean(found[:, 0]), 0)]
    columns += list(mirrored(drawn["mirror"]).T.astype(float))
    same = np.corrcoef(columns)
    later = np.corrcoef([column[:-1] for column in columns], [column[1:] for column in columns])
    limit = 5 / np.sqrt(DRAWS)
    assert abs(same - np.eye(len(columns))).max() < limit
    assert abs(later[: len(columns), len(columns) :]).max() < limit


@pytest.mark.parametrize(("patch", "degrees"), [((24, 20), 180), ((20, 40), 15), ((4, 16, 16), 180)])
def test_in_a_plane_there_is_one_angle(patch: tuple[int, ...], degrees: float) -> None:
    rng, context = generator(1, "spatial"), Context(1, patch_geometry(patch))
    drawn = [TRANSFORMS["spatial"].draw(rng, context) for _ in range(SAMPLES["angles"])]
    assert {len(params.angles) for params in drawn if params is not None} == {1}
    angles = np.array([params.angles[0] for params in drawn if params is not None and any(params.angles)])
    largest = np.deg2rad(degrees)
    assert len(angles) >= DRAWS
    assert stats.kstest(angles[:DRAWS], uniform(-largest, largest)).pvalue > 0.005


def test_slices_that_are_rotated_alone_keep_their_resolution_across() -> None:
    transform, context = TRANSFORMS["low_resolution"], Context(1, patch_geometry((4, 16, 16)))
    drawn = [params for params in draw_all(transform, range(200), context) if params is not None]
    shares = np.concatenate([params.values for params in drawn])
    assert len(shares) > 10
    assert (shares[:, 0] == 1).all()
    assert (shares[:, 1] == shares[:, 2]).all()
    assert (shares[:, 1:] < 1).all()


def numbers(params: Any) -> Iterator[float]:
    """All numbers that some parameters consist of."""
    match params:
        case SpatialParams():
            yield from (*params.angles, params.zoom)
        case NoiseParams():
            yield from params
        case ChannelParams():
            yield from (*params.channels, *params.values.ravel())
        case None:
            return
        case _:
            yield from params


@pytest.mark.parametrize("name", {t.name: None for pipeline in PIPELINES.values() for t in pipeline})
def test_a_seed_and_a_name_fix_the_draws(name: str) -> None:
    def drawn(seeds: range) -> list[list[float]]:
        params = draw_all(TRANSFORMS[name], seeds, CUBE)
        if name.startswith("batchgenerators"):
            return [[p.seed] for p in params if p is not None]
        return [list(numbers(p)) for p in params]

    first = drawn(range(64))
    assert first == drawn(range(64))
    assert first != drawn(range(64, 128))
    assert generator(3, name).random() != generator(3, name + "_").random()
