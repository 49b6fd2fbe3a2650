"""The random choices of the augmentation: what is done to which sample, and how much (docs/rules.md, Augmentation)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from umseg.training.augmentation.geometry import Geometry
from umseg.training.augmentation.style import UMAMBA, Style

Floats = NDArray[np.float64]

P_ROTATION, P_ZOOM = 0.2, 0.2
P_NOISE, P_BLUR, P_BRIGHTNESS, P_CONTRAST, P_RESOLUTION = 0.1, 0.2, 0.15, 0.15, 0.25
P_GAMMA_INVERTED, P_GAMMA, P_MIRROR = 0.1, 0.3, 0.5
P_CHANNEL = 0.5
"""Share of the channels of a chosen sample that are blurred or lose resolution."""

ZOOM, NOISE, BLUR, BRIGHTNESS = (0.7, 1.4), (0.0, 0.1), (0.5, 1.0), (0.75, 1.25)
CONTRAST, RESOLUTION, GAMMA = (0.75, 1.25), (0.5, 1.0), (0.7, 1.5)


@dataclass(frozen=True)
class Draws:
    """The choices for the samples of a batch. A value that would change nothing stands for "not this sample".

    Attributes:
        angles: (samples, 1 or 3) radians about the turned axes; 0: not turned.
        zoom: (samples) factor of the coordinates, above 1 objects get smaller; 1: not zoomed.
        noise: (samples) standard deviation of the noise; 0: none.
        blur: (samples, channels, axes) standard deviations of the Gaussian in voxels; 0: not blurred.
        brightness: (samples, channels) factor; 1: unchanged.
        contrast: (samples, channels) factor of the distance to the mean; 1: unchanged.
        resolution: (samples, channels) share of the voxels per axis that is kept; 1: all.
        gamma_inverted: (samples, channels) exponent for the negative image; 1: unchanged.
        gamma: (samples, channels) exponent; 1: unchanged.
        mirrored: (samples, axes) whether the axis is reversed.
    """

    angles: Floats
    zoom: Floats
    noise: Floats
    blur: Floats
    brightness: Floats
    contrast: Floats
    resolution: Floats
    gamma_inverted: Floats
    gamma: Floats
    mirrored: NDArray[np.bool_]

    @property
    def turned(self) -> NDArray[np.bool_]:
        """(samples) whether a sample is turned or zoomed."""
        return np.asarray(self.angles.any(axis=1) | (self.zoom != 1))


@lru_cache(maxsize=4)
def draw_each(seeds: tuple[int, ...], channels: int, geometry: Geometry, style: Style) -> Draws:
    """The choices for samples that have a seed each; asked for twice, before and after the patches are cut."""
    single = [draw(np.random.default_rng(seed), 1, channels, geometry, style) for seed in seeds]
    return Draws(**{field.name: np.concatenate([getattr(d, field.name) for d in single]) for field in fields(Draws)})


def draw(rng: np.random.Generator, samples: int, channels: int, geometry: Geometry, style: Style = UMAMBA) -> Draws:
    """Draw everything, each sample by itself."""
    axes = len(geometry.initial_patch)
    each, all_channels = (samples, 1), (samples, channels)
    turns = (samples, 3 if geometry.turned_axes == 3 else 1)

    def chosen(probability: float, shape: tuple[int, int] = each) -> NDArray[np.bool_]:
        return rng.random(shape) < probability

    def uniform(limits: tuple[float, float], shape: tuple[int, int] = all_channels) -> Floats:
        return rng.uniform(*limits, size=shape)

    def around_one(limits: tuple[float, float], shape: tuple[int, int] = all_channels) -> Floats:
        """As often below 1 as above, and uniform on either side."""
        low, high = limits
        return np.where(chosen(0.5, shape), uniform((low, 1.0), shape), uniform((1.0, high), shape))

    def deviations() -> Floats:
        wanted = axes if style.blur_by_axis else 1
        found = rng.uniform(*BLUR, size=(*all_channels, wanted))
        return np.broadcast_to(found, (*all_channels, axes))

    zoom = around_one if style.zoom_by_halves else uniform
    return Draws(
        angles=np.where(chosen(P_ROTATION), uniform((-geometry.angle, geometry.angle), turns), 0.0),
        zoom=np.where(chosen(P_ZOOM), zoom(ZOOM, each), 1.0)[:, 0],
        noise=np.where(chosen(P_NOISE), uniform(NOISE, each), 0.0)[:, 0],
        blur=np.where((chosen(P_BLUR) & chosen(P_CHANNEL, all_channels))[..., None], deviations(), 0.0),
        brightness=np.where(chosen(P_BRIGHTNESS), uniform(BRIGHTNESS), 1.0),
        contrast=np.where(chosen(P_CONTRAST), around_one(CONTRAST), 1.0),
        resolution=np.where(chosen(P_RESOLUTION) & chosen(P_CHANNEL, all_channels), uniform(RESOLUTION), 1.0),
        gamma_inverted=np.where(chosen(P_GAMMA_INVERTED), around_one(GAMMA), 1.0),
        gamma=np.where(chosen(P_GAMMA), around_one(GAMMA), 1.0),
        mirrored=chosen(P_MIRROR, (samples, axes)) & _may_mirror(geometry),
    )


def _may_mirror(geometry: Geometry) -> NDArray[np.bool_]:
    return np.isin(np.arange(len(geometry.initial_patch)), geometry.mirror_axes)
