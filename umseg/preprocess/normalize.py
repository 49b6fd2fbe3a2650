"""Intensity normalisation: one function for each scheme of ``umseg.planning.rules.normalizations``.

Each function changes the channel in place (docs/rules.md, Normalisation).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.planning.intensity import IntensityStatistics
from umseg.planning.rules.normalizations import NORMALIZATIONS

Channel = NDArray[np.float32]
Mask = NDArray[np.bool_]

SMALLEST_DIVISOR = 1e-8
"""Divisor that keeps a constant image finite; the published system's value."""
_BLOCK = 2**20
"""Values that are added at once: a multiple of numpy's buffer, so that sums are those of ``numpy.mean`` to the bit."""


def normalize(
    channel: Channel,
    scheme: str,
    *,
    mask: Mask | None = None,
    statistics: IntensityStatistics | None = None,
    overwrite: bool = False,
) -> Channel:
    """Normalise one channel of a cropped image.

    Args:
        channel: (z, y, x) float32.
        scheme: A name in ``NORMALIZATIONS``.
        mask: (z, y, x), true where the image is not zero; only Z-scoring uses it.
        statistics: Foreground intensities of this channel over the data set; only CT normalisation needs them.
        overwrite: Whether the result is written into ``channel``, so that no second array is needed.

    Returns:
        The normalised channel, float32 of the same shape: a new array, or ``channel``.

    Raises:
        UserError: The scheme is unknown, needs statistics that are missing, or the values do not fit it.
    """
    function = NORMALIZATIONS.look_up(scheme, "normalization_schemes in the plan").resolve()
    result = channel if overwrite else np.array(channel, dtype=np.float32)
    function(result, mask, statistics)
    return result


def ct(channel: Channel, mask: Mask | None, statistics: IntensityStatistics | None) -> None:
    """Clip to the 0.5 and 99.5 percentiles of the data set's foreground, subtract its mean, divide by its deviation.

    Raises:
        UserError: There are no statistics.
    """
    if statistics is None:
        raise UserError(
            "CT normalisation needs the foreground intensities of the data set.",
            found="no foreground_intensity_properties_per_channel for this channel",
            remedy="Run `umseg plan` again.",
        )
    low, high = np.float32(statistics.percentile_00_5), np.float32(statistics.percentile_99_5)
    np.clip(channel, low, high, out=channel)
    channel -= np.float32(statistics.mean)
    channel /= np.float32(max(statistics.std, SMALLEST_DIVISOR))


def z_score(channel: Channel, mask: Mask | None, statistics: IntensityStatistics | None) -> None:
    """Zero mean and unit deviation over the image, or over ``mask`` only; other voxels then keep their value, zero."""
    if mask is None:
        _standardize(channel)
    elif mask.any():
        _standardize_inside(channel, mask)


def rescale_to_01(channel: Channel, mask: Mask | None, statistics: IntensityStatistics | None) -> None:
    """Minimum to 0, maximum to 1."""
    smallest, largest = float(channel.min()), float(channel.max())
    channel -= np.float32(smallest)
    channel /= np.float32(max(largest - smallest, SMALLEST_DIVISOR))


def rgb_to_01(channel: Channel, mask: Mask | None, statistics: IntensityStatistics | None) -> None:
    """Divide 8-bit colours by 255.

    Raises:
        UserError: A value is outside 0..255.
    """
    smallest, largest = float(channel.min()), float(channel.max())
    if smallest < 0 or largest > 255:
        raise UserError(
            "The image is not an 8-bit colour image.",
            found=f"values from {smallest:g} to {largest:g}",
            expected="values from 0 to 255",
            remedy="Give the channel another name than rgb_to_0_1 in dataset.json, and run `umseg plan` again.",
        )
    channel /= np.float32(255)


def unchanged(channel: Channel, mask: Mask | None, statistics: IntensityStatistics | None) -> None:
    """Keep the values."""


def _standardize(values: Channel) -> None:
    values -= np.float32(values.mean(dtype=np.float64))
    values /= np.float32(max(_root_mean_square(values), SMALLEST_DIVISOR))


def _standardize_inside(channel: Channel, mask: Mask) -> None:
    """The same for the values inside the mask, which are never gathered in one array."""
    count = int(np.count_nonzero(mask))
    total = np.float64(0)
    for block in _inside(channel, mask):
        total = np.add.reduce(block, dtype=np.float64, initial=total)
    mean = np.float32(total / count)
    squares = sum(float(np.square(block - mean, dtype=np.float64).sum()) for block in _inside(channel, mask))
    deviation = np.float32(max(float(np.sqrt(squares / count)), SMALLEST_DIVISOR))
    for plane, inside in zip(channel, mask, strict=True):
        plane[inside] = (plane[inside] - mean) / deviation


def _inside(channel: Channel, mask: Mask) -> Iterator[NDArray[np.float32]]:
    """The values inside the mask, in their order, in blocks of ``_BLOCK`` values and a last one."""
    kept: list[NDArray[np.float32]] = []
    size = 0
    for plane, inside in zip(channel, mask, strict=True):
        kept.append(plane[inside])
        size += kept[-1].size
        while size >= _BLOCK:
            values = np.concatenate(kept)
            yield values[:_BLOCK]
            kept, size = [values[_BLOCK:]], size - _BLOCK
    yield np.concatenate(kept)


def _root_mean_square(values: Channel) -> float:
    # Working in blocks gives double precision without a double-precision copy of the image.
    flat = values.ravel()
    blocks = (flat[start : start + _BLOCK] for start in range(0, flat.size, _BLOCK))
    total = sum(float(np.square(part, dtype=np.float64).sum()) for part in blocks)
    return float(np.sqrt(total / max(flat.size, 1)))
