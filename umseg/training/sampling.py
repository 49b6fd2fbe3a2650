"""Where a training patch is cut (facts 1.8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

FOREGROUND_SHARE = 0.33

ScalarT = TypeVar("ScalarT", bound=np.generic)
ScalarT_co = TypeVar("ScalarT_co", bound=np.generic, covariant=True)


class Sliceable(Protocol[ScalarT_co]):
    """An array, in memory or on disk, of which parts can be read."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, key: tuple[slice, ...], /) -> NDArray[ScalarT_co]: ...


def forced_foreground(batch_size: int, share: float = FOREGROUND_SHARE) -> tuple[bool, ...]:
    """Which samples of a batch must contain foreground: the last third, j >= round(batch_size * (1 - share))."""
    return tuple(j >= round(batch_size * (1 - share)) for j in range(batch_size))


def patch_corner(
    rng: np.random.Generator,
    shape: Sequence[int],
    initial: Sequence[int],
    final: Sequence[int],
    class_locations: Mapping[int, NDArray[np.integer]] | None,
) -> tuple[int, ...]:
    """Draw the lower corner of a patch; it may be negative, and the patch may hang over the far border.

    Args:
        rng: Source of randomness.
        shape: Voxels per axis of the image.
        initial: Patch that is cut; larger than the final one where rotation needs a margin.
        final: Patch that the network sees; an image smaller than it is padded on both sides.
        class_locations: Class to voxels (n, axes). Given: the patch is centred, as far as the lower borders allow, on a
            random voxel of a random class that occurs. None, or no class occurs: anywhere.
    """
    margin = np.subtract(initial, final)
    need = np.where(np.add(shape, margin) < initial, np.subtract(initial, shape), margin)
    # Of an odd margin the lower side may take the larger half, and so may the upper one.
    lower = -need // 2
    upper = np.asarray(shape) + need // 2 + need % 2 - initial
    present = [c for c, voxels in sorted(class_locations.items()) if len(voxels)] if class_locations else []
    if not present:
        return tuple(int(rng.integers(low, high + 1)) for low, high in zip(lower, upper, strict=True))
    assert class_locations is not None
    voxels = class_locations[present[int(rng.integers(len(present)))]]
    centre = voxels[int(rng.integers(len(voxels)))]
    return tuple(int(c) for c in np.maximum(lower, centre - np.asarray(initial) // 2))


def cut(array: Sliceable[ScalarT], corner: Sequence[int], size: Sequence[int], fill: float) -> NDArray[ScalarT]:
    """Read a patch; what lies outside the array is ``fill``.

    Args:
        array: (*leading, *spatial); the leading axes are read whole.
        corner: Lower corner in the spatial axes.
        size: Patch size in the spatial axes.
        fill: Value outside the array.
    """
    leading = array.shape[: len(array.shape) - len(size)]
    spatial = array.shape[len(leading) :]
    start = [max(c, 0) for c in corner]
    stop = [min(c + s, n) for c, s, n in zip(corner, size, spatial, strict=True)]
    whole = tuple(slice(0, n) for n in leading)
    source = (*whole, *(slice(a, b) for a, b in zip(start, stop, strict=True)))
    inside = array[source]
    if inside.shape[len(leading) :] == tuple(size):
        return inside
    patch = np.full((*leading, *size), fill, dtype=inside.dtype)
    target = (*whole, *(slice(a - c, b - c) for a, b, c in zip(start, stop, corner, strict=True)))
    patch[target] = inside
    return patch
