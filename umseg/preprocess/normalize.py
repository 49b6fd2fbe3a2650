"""Intensity normalisation, one function per scheme, which changes the channel in place.

Source: docs/rules.md, Normalisation.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.planning.intensity import IntensityStatistics

Channel = NDArray[np.float32]
Mask = NDArray[np.bool_]

# Keeps a constant image finite; the published system's value.
SMALLEST_DIVISOR = 1e-8


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
        scheme: A key of ``NORMALIZATIONS``.
        mask: (z, y, x), true where the image is not zero; only Z-scoring uses it.
        statistics: Foreground intensities of this channel over the data set; only CT normalisation needs them.
        overwrite: Whether the result is written into ``channel``, so that no second array is needed.

    Returns:
        The normalised channel, float32 of the same shape: a new array, or ``channel``.

    Raises:
        UserError: The scheme is unknown, needs statistics that are missing, or the values do not fit it.
    """
    if scheme not in NORMALIZATIONS:
        raise UserError(
            f"Unknown normalisation '{scheme}'.",
            found=scheme,
            expected=" or ".join(NORMALIZATIONS),
            remedy="Correct normalization_schemes in the plan.",
        )
    result = channel if overwrite else np.array(channel, dtype=np.float32)
    NORMALIZATIONS[scheme](result, mask, statistics)
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
            remedy="Run umseg plan again.",
        )
    low, high = np.float32(statistics.percentile_00_5), np.float32(statistics.percentile_99_5)
    np.clip(channel, low, high, out=channel)
    channel -= np.float32(statistics.mean)
    channel /= np.float32(max(statistics.std, SMALLEST_DIVISOR))


def z_score(channel: Channel, mask: Mask | None, statistics: IntensityStatistics | None) -> None:
    """Zero mean and unit deviation over the image, or over ``mask`` only; then all else keeps its value (zero)."""
    if mask is None:
        _standardize(channel)
    elif mask.any():
        inside = channel[mask]
        _standardize(inside)
        channel[mask] = inside


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
            remedy="Name the channel otherwise in dataset.json (not rgb_to_0_1) and run umseg plan again.",
        )
    channel /= np.float32(255)


def unchanged(channel: Channel, mask: Mask | None, statistics: IntensityStatistics | None) -> None:
    """Keep the values."""


NORMALIZATIONS: dict[str, Callable[[Channel, Mask | None, IntensityStatistics | None], None]] = {
    "CTNormalization": ct,
    "ZScoreNormalization": z_score,
    "NoNormalization": unchanged,
    "RescaleTo01Normalization": rescale_to_01,
    "RGBTo01Normalization": rgb_to_01,
}

NEED_STATISTICS = frozenset({"CTNormalization"})
"""Schemes that use the intensities of the whole data set."""


def _standardize(values: Channel) -> None:
    values -= np.float32(values.mean(dtype=np.float64))
    values /= np.float32(max(_root_mean_square(values), SMALLEST_DIVISOR))


def _root_mean_square(values: Channel, block: int = 2**20) -> float:
    # In blocks: double precision without a double-precision copy of the image.
    flat = values.ravel()
    blocks = (flat[start : start + block] for start in range(0, flat.size, block))
    total = sum(float(np.square(part, dtype=np.float64).sum()) for part in blocks)
    return float(np.sqrt(total / max(flat.size, 1)))
