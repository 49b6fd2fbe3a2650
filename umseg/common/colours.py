"""Colours of classes: the usual ten first, then as many more as there are classes, each unlike all before it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

# Matplotlib's "tab10".
_FIRST = ("1f77b4", "ff7f0e", "2ca02c", "d62728", "9467bd", "8c564b", "e377c2", "7f7f7f", "bcbd22", "17becf")
_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.119192, 0.9503041]]
)
_STEPS = 16
_DARKEST, _LIGHTEST = 30.0, 88.0
"""Lightness (0 to 100) between which colours stand out from black, and from white."""


@lru_cache(maxsize=8)
def class_colours(count: int) -> tuple[tuple[float, float, float], ...]:
    """Distinct colours as (red, green, blue) from 0 to 1; those of fewer classes are the beginning of those of more.

    Every colour after the tenth is the one that is least like all before it.
    """
    first = np.array([[int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)] for code in _FIRST])
    steps = np.linspace(0, 1, _STEPS)
    candidates = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    places = lab(candidates)
    usable = (places[:, 0] >= _DARKEST) & (places[:, 0] <= _LIGHTEST)
    candidates, places = candidates[usable], places[usable]
    chosen = list(first[:count])
    distances = np.min([np.linalg.norm(places - place, axis=1) for place in lab(first)], axis=0)
    while len(chosen) < count:
        best = int(distances.argmax())
        chosen.append(candidates[best])
        distances = np.minimum(distances, np.linalg.norm(places - places[best], axis=1))
    return tuple((float(red), float(green), float(blue)) for red, green, blue in chosen)


def lab(colours: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIE L*a*b* values of sRGB colours (n, 3), in which equal distances look equally large."""
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    xyz = linear @ _TO_XYZ.T / np.array([0.95047, 1.0, 1.08883])
    root = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = root.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)
