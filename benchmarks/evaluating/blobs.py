"""Small pairs of masks for comparisons between packages."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

_SPACINGS = ((1.0, 1.0, 1.0), (2.5, 0.8, 0.8), (0.5, 0.5, 0.5), (3.0, 1.0, 1.0))


def blobs(seed: int) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    """A predicted mask, its reference (z, y, x) and their spacing.

    A smooth random shape, wrinkled in its own way and moved a little in the prediction, which in every fourth case also
    has a false piece. Some touch the border of the image.
    """
    draw = np.random.default_rng(seed)
    spacing = _SPACINGS[seed % len(_SPACINGS)]
    shape = tuple(int(draw.integers(20, 60)) for _ in range(3))
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, side) for side in shape), indexing="ij"))
    form = draw.uniform(0.4, 0.8) - np.sqrt((grid**2).sum(axis=0)) + 0.3 * _noise(shape, 4, draw)
    reference = form + 0.08 * _noise(shape, 1.5, draw) > 0
    moved = ndimage.shift(form, draw.normal(0, 0.7, 3), order=1, mode="nearest")
    prediction = moved + 0.08 * _noise(shape, 1.5, draw) > 0
    if seed % 4 == 3:
        prediction[:4, :5, :6] = True
    return prediction, reference, spacing


def _noise(shape: tuple[int, ...], width: float, draw: np.random.Generator) -> np.ndarray:
    """Smooth noise with a standard deviation of 1."""
    noise: np.ndarray = ndimage.gaussian_filter(draw.normal(size=shape), width)
    noise /= noise.std()
    return noise
