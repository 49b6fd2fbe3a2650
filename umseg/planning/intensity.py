"""Foreground intensities of a data set: a reproducible draw from each case, and exact statistics of all draws.

Source: docs/rules.md, Fingerprint.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from umseg.common.record import FieldError, Record

NUM_SAMPLES = 100_000_000
"""Number of draws from the whole data set: as many as nnU-Net's literal 10e7."""

_SEED = 1234
_CHUNK = 1 << 20
_BINS = 1 << 16


Intensity = Annotated[float, Field(ge=-3.4e38, le=3.4e38, allow_inf_nan=False)]
"""A finite number of float32, in which images are computed."""


class IntensityStatistics(Record):
    """Statistics of the foreground intensities of one channel over the whole data set."""

    mean: Intensity
    median: Intensity
    std: Annotated[Intensity, Field(ge=0)]
    min: Intensity
    max: Intensity
    percentile_00_5: Intensity
    percentile_99_5: Intensity

    @model_validator(mode="after")
    def _are_in_order(self) -> IntensityStatistics:
        if self.max < self.min:
            raise FieldError("max", self.max, f"at least min, {self.min}")
        if self.percentile_99_5 < self.percentile_00_5:
            raise FieldError(
                "percentile_99_5", self.percentile_99_5, f"at least percentile_00_5, {self.percentile_00_5}"
            )
        return self


@dataclass(frozen=True)
class Draw:
    """Intensities drawn from one channel of one case.

    Attributes:
        values: Distinct values in ascending order, (n,) float32.
        counts: Number of times that each value was drawn, at least 1; (n,) unsigned.
    """

    values: NDArray[np.float32]
    counts: NDArray[np.unsignedinteger[Any]]


def draw_foreground(
    image: NDArray[np.float32], foreground: NDArray[np.bool_], samples_per_case: int
) -> tuple[Draw, ...]:
    """Draw foreground intensities of a case with replacement, one draw per channel.

    One random generator per case serves its channels in turn, so that the draw equals nnU-Net's.

    Args:
        image: Intensities, (channels, z, y, x).
        foreground: Mask of the foreground, (z, y, x).
        samples_per_case: Number of draws per channel.

    Returns:
        One draw per channel, empty if there is no foreground.
    """
    random = np.random.RandomState(_SEED)
    return tuple(_draw(channel[foreground], samples_per_case, random) for channel in image)


def _draw(values: NDArray[np.float32], samples: int, random: np.random.RandomState) -> Draw:
    if values.size == 0 or samples == 0:
        return Draw(np.empty(0, np.float32), np.empty(0, np.uint8))
    times = np.zeros(values.size, dtype=np.int64)
    # The random numbers do not depend on the size of the pieces that they are drawn in; small pieces save memory.
    chunk = max(_CHUNK, values.size)
    for start in range(0, samples, chunk):
        positions = random.randint(0, values.size, size=min(chunk, samples - start))
        times += np.bincount(positions, minlength=values.size)
    drawn = times > 0
    distinct, indices = np.unique(values[drawn], return_inverse=True)
    counts = np.bincount(indices.ravel(), weights=times[drawn], minlength=distinct.size).astype(np.int64)
    return Draw(distinct, counts.astype(np.min_scalar_type(int(counts.max()))))


def describe(draws: Sequence[Draw]) -> IntensityStatistics:
    """Statistics of all draws of a channel in float64, as if every drawn value were listed by itself.

    Percentiles interpolate linearly between neighbours, as ``numpy.percentile`` does.

    Raises:
        ValueError: The draws are empty.
    """
    draws = [draw for draw in draws if draw.values.size]
    total = sum(int(draw.counts.sum(dtype=np.int64)) for draw in draws)
    if total == 0:
        raise ValueError("no intensities were drawn")
    mean = sum(_weighted(draw, draw.values) for draw in draws) / total
    variance = sum(_weighted(draw, (draw.values.astype(np.float64) - mean) ** 2) for draw in draws) / total
    return IntensityStatistics(
        mean=mean,
        median=percentile(draws, total, 50),
        std=float(np.sqrt(variance)),
        min=float(min(draw.values[0] for draw in draws)),
        max=float(max(draw.values[-1] for draw in draws)),
        percentile_00_5=percentile(draws, total, 0.5),
        percentile_99_5=percentile(draws, total, 99.5),
    )


def _weighted(draw: Draw, values: NDArray[np.floating[Any]]) -> float:
    return float(np.dot(values.astype(np.float64), draw.counts.astype(np.float64)))


def percentile(draws: Sequence[Draw], total: int, percent: float) -> float:
    """A percentile of all draws, with linear interpolation; ``total`` is the sum of all counts."""
    position = percent / 100 * (total - 1)
    rank = int(position)
    below = _value_at(draws, rank)
    above = _value_at(draws, min(rank + 1, total - 1))
    return below + (above - below) * (position - rank)


def _value_at(draws: Sequence[Draw], rank: int) -> float:
    """The value at a rank of the sorted draws, found by two histograms instead of sorting all of them.

    The bits of float32 values, read as integers whose sign is corrected, sort in the order of the values. The first
    histogram therefore finds the upper 16 bits of the value at the rank, and the second one finds the lower bits.
    """
    upper, rank = _find_bin(((_sortable(draw.values) >> np.uint32(16), draw.counts) for draw in draws), rank)

    def lower_bits() -> Iterable[tuple[NDArray[np.uint32], NDArray[Any]]]:
        for draw in draws:
            key = _sortable(draw.values)
            inside = slice(*np.searchsorted(key, [upper << 16, (upper + 1) << 16]))
            yield key[inside] & np.uint32(_BINS - 1), draw.counts[inside]

    lower, _ = _find_bin(lower_bits(), rank)
    key = upper << 16 | lower
    bits = key ^ (0x80000000 if key & 0x80000000 else 0xFFFFFFFF)
    # Adding zero turns -0.0 into 0.0.
    return float(np.uint32(bits).view(np.float32)) + 0.0


def _find_bin(weighted: Iterable[tuple[NDArray[np.uint32], NDArray[Any]]], rank: int) -> tuple[int, int]:
    """The bin that holds ``rank`` in the histogram of bin numbers and their counts, and the rank within that bin."""
    histogram = np.zeros(_BINS, dtype=np.int64)
    for bins, counts in weighted:
        # Weights are summed in float64, which is exact up to 2^53.
        histogram += np.bincount(bins, weights=counts, minlength=_BINS).astype(np.int64)
    ends = np.cumsum(histogram)
    number = int(np.searchsorted(ends, rank, side="right"))
    return number, rank - int(ends[number] - histogram[number])


def _sortable(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    bits: NDArray[np.uint32] = values.view(np.uint32)
    return np.where(bits >> 31, ~bits, bits | np.uint32(0x80000000))
