"""Sliding-window prediction with Gaussian weights."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from .metadata import Metadata, PredictionError

Network = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""A function from patches (batch, channels, *patch) to logits (batch, classes, *patch)."""

_PEAK = 10.0


def sliding_window(
    networks: Network | Sequence[Network],
    data: NDArray[np.float32],
    metadata: Metadata,
    step: float = 0.5,
    mirror: bool = False,
) -> NDArray[np.float32]:
    """Average the logits of all patches that cover a voxel.

    Args:
        networks: The network, or the networks of several folds, whose logits are averaged.
        data: (channels, z, y, x), preprocessed.
        metadata: The model.
        step: Distance of neighbouring patches as a fraction of the patch, above 0 and up to 1.
        mirror: Whether logits are averaged over all flips of the axes that were mirrored in training.

    Returns:
        (classes, z, y, x) logits.

    Raises:
        PredictionError: The step is not valid, or the output of a network is not what the model says.
    """
    if not 0 < step <= 1:
        raise PredictionError(f"The step {step} is not a fraction of the patch, above 0 and up to 1.")
    several = [networks] if callable(networks) else list(networks)
    flat = len(metadata.patch) == 2
    patch = (1, *metadata.patch) if flat else metadata.patch
    padded, inside = _padded(data, patch)
    total = np.zeros((metadata.num_classes, *padded.shape[1:]), dtype=np.float32)
    weights = np.zeros(padded.shape[1:], dtype=np.float32)
    weight = gaussian_weight(metadata.patch).reshape(patch)
    corners = list(itertools.product(*map(_starts, padded.shape[1:], patch, [step] * 3)))
    for first in range(0, len(corners), metadata.batch_size):
        places = [_place(corner, patch) for corner in corners[first : first + metadata.batch_size]]
        batch = np.stack([padded[place] for place in places])
        logits = _averaged(several, batch[:, :, 0] if flat else batch, metadata.mirror_axes if mirror else ())
        if logits.shape != (len(places), metadata.num_classes, *metadata.patch) or not np.isfinite(logits).all():
            raise PredictionError("The output of the network does not have the model's shape, or is not finite.")
        for place, patch_logits in zip(places, logits.reshape(len(places), -1, *patch), strict=True):
            total[place] += patch_logits * weight
            weights[place[1:]] += weight
    total /= weights
    return total[inside]


def gaussian_weight(patch: Sequence[int]) -> NDArray[np.float32]:
    """Weight of every voxel of a patch: a Gaussian of sigma = patch / 8 about ``patch // 2``, cut off at 4 sigma."""
    weight = np.ones(())
    for size in patch:
        sigma = size / 8
        radius = int(4 * sigma + 0.5)
        distance = np.arange(size) - size // 2
        bell = np.exp(-0.5 / (sigma * sigma) * np.arange(-radius, radius + 1) ** 2)
        near = np.abs(distance) <= radius
        axis = np.where(near, (bell / bell.sum())[(distance + radius).clip(0, 2 * radius)], 0)
        weight = np.multiply.outer(weight, axis)
    weight *= _PEAK / weight.max()
    smallest = float(np.finfo(np.float16).smallest_subnormal)
    return np.asarray(np.maximum(weight, smallest), dtype=np.float32)


def _padded(data: NDArray[np.float32], patch: Sequence[int]) -> tuple[NDArray[np.float32], tuple[slice, ...]]:
    """The data with zeros on both sides up to the size of the patch, and the index of the data in it."""
    missing = [max(p - s, 0) for s, p in zip(data.shape[1:], patch, strict=True)]
    widths = [(0, 0), *((m // 2, m - m // 2) for m in missing)]
    inside = _place([before for before, _ in widths[1:]], data.shape[1:])
    return (np.pad(data, widths) if any(missing) else data), inside


def _starts(size: int, patch: int, step: float) -> Sequence[int]:
    """First voxels of the patches along one axis: evenly spread, at most ``step`` patches apart."""
    if patch == 1:
        return range(size)
    if size <= patch:
        return (0,)
    count = math.ceil((size - patch) / (patch * step)) + 1
    return [round(i * (size - patch) / (count - 1)) for i in range(count)]


def _place(corner: Sequence[int], patch: Sequence[int]) -> tuple[slice, ...]:
    return slice(None), *(slice(c, c + p) for c, p in zip(corner, patch, strict=True))


def _averaged(networks: Sequence[Network], batch: NDArray[np.float32], axes: Sequence[int]) -> NDArray[np.float32]:
    """Mean logits over networks and flips."""
    total: NDArray[np.float32] | None = None
    flips = [flip for count in range(len(axes) + 1) for flip in itertools.combinations(axes, count)]
    for flip in flips:
        spatial = tuple(axis + 2 for axis in flip)
        flipped = np.ascontiguousarray(np.flip(batch, spatial))
        for network in networks:
            logits = np.flip(network(flipped), spatial)
            total = np.array(logits, dtype=np.float32) if total is None else total + logits
    if total is None:
        raise PredictionError("There is no network.")
    total /= np.float32(len(flips) * len(networks))
    return total
