"""Where a training patch is cut (docs/rules.md, Patch sampling)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from umseg.preprocess.locations import ANNOTATED

FOREGROUND_SHARE = 0.33
"""Share of a batch that must show foreground, unless the user says otherwise."""

ScalarT_co = TypeVar("ScalarT_co", bound=np.generic, covariant=True)


class Sliceable(Protocol[ScalarT_co]):
    """An array in memory or on disk that can be read in parts."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels per axis."""

    def __getitem__(self, key: tuple[slice, ...], /) -> NDArray[ScalarT_co]: ...


def forced_foreground(batch_size: int, share: float = FOREGROUND_SHARE) -> tuple[bool, ...]:
    """Which samples of a batch must contain foreground: the last third, j >= round(batch_size * (1 - share))."""
    return tuple(j >= round(batch_size * (1 - share)) for j in range(batch_size))


def patch_centres(class_locations: Mapping[int, NDArray[np.integer]], forced: bool) -> list[NDArray[np.integer]]:
    """The voxels on which a patch may be centred, as one array per class; an empty list allows any place.

    A forced patch is centred on a class that occurs. Where there is an ignore label, all other patches are centred on
    an annotated voxel, and so are forced patches of a case without foreground.

    Args:
        class_locations: Voxels (n, axes) of each class, and of ``ANNOTATED``.
        forced: Whether the patch must contain foreground.
    """
    occurring = {key: voxels for key, voxels in sorted(class_locations.items()) if len(voxels)}
    annotated = occurring.pop(ANNOTATED, None)
    if forced and occurring:
        return list(occurring.values())
    return [] if annotated is None else [annotated]


def patch_corner(
    rng: np.random.Generator,
    shape: Sequence[int],
    initial: Sequence[int],
    final: Sequence[int],
    centres: Sequence[NDArray[np.integer]] = (),
) -> tuple[int, ...]:
    """Draw the lower corner of a patch; it may be negative, and the patch may extend beyond the far border.

    Args:
        rng: Source of randomness.
        shape: Voxels per axis of the image.
        initial: Size of the patch that is cut; larger than the final one where rotation needs a margin.
        final: Size of the patch that the network sees; a smaller image is padded on both sides.
        centres: Groups of voxels (n, axes), as ``patch_centres`` gives them. The patch is centred, as far as the lower
            borders allow, on a random voxel of a random group; without any group it may lie anywhere.
    """
    margin = np.subtract(initial, final)
    padding = np.where(np.add(shape, margin) < initial, np.subtract(initial, shape), margin)
    # The larger half of an odd padding may lie on the lower or on the upper side.
    lower = -padding // 2
    upper = np.asarray(shape) + padding // 2 + padding % 2 - initial
    if not centres:
        return tuple(int(rng.integers(low, high + 1)) for low, high in zip(lower, upper, strict=True))
    voxels = centres[int(rng.integers(len(centres)))]
    centre = voxels[int(rng.integers(len(voxels)))]
    return tuple(int(c) for c in np.maximum(lower, centre - np.asarray(initial) // 2))


def cut(array: Sliceable[np.generic], corner: Sequence[int], out: NDArray[np.generic], fill: float) -> None:
    """Read a patch into ``out``; voxels outside the array are set to ``fill``.

    Args:
        array: (*leading, *spatial); the leading axes are read completely.
        corner: Lower corner in the spatial axes.
        out: (*leading, *patch), which is overwritten.
        fill: Value of voxels outside the array.
    """
    leading = len(out.shape) - len(corner)
    start = [0] * leading + [max(c, 0) for c in corner]
    first = (0,) * leading + tuple(corner)
    stop = [min(c + s, n) for c, s, n in zip(first, out.shape, array.shape, strict=True)]
    target = tuple(slice(a - c, b - c) for a, b, c in zip(start, stop, first, strict=True))
    for axis, part in enumerate(target):
        for outside in (slice(0, part.start), slice(part.stop, None)):
            region = (*target[:axis], outside)
            out[region] = fill
    out[target] = array[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))]
