"""Filling the holes of a large mask slice by slice: labels of the whole volume would take four times its memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Labels = NDArray[np.integer]


def fill_by_slices(mask: Mask) -> Mask:
    """Fill the holes of a volume: the background that no path of face neighbours connects to the border.

    The background of each slice is labelled by itself, components of neighbouring slices that touch are joined in a
    graph, and the slices that have holes are labelled again.

    Args:
        mask: (z, y, x).
    """
    holes = _holes(mask)
    filled = np.array(mask)
    first = 0
    for plane, result in zip(mask, filled, strict=True):
        labels, count = _background(plane)
        ours = holes[first : first + count]
        if ours.any():
            np.logical_or(result, np.concatenate([[False], ours])[labels], out=result)
        first += count
    return filled


def _holes(mask: Mask) -> Mask:
    """For each component of the background of each slice, in the order of slices, whether it belongs to a hole."""
    from scipy import sparse
    from scipy.sparse.csgraph import connected_components

    total, outer, pairs = 0, [np.empty(0, dtype=np.int64)], [np.empty((2, 0), dtype=np.int64)]
    below: tuple[Labels, int] | None = None
    for number, plane in enumerate(mask):
        labels, count = _background(plane)
        # Numbers of the volume are those of the slice, of which 0 is the mask, behind those of the slices before it.
        before = total - 1
        if number in (0, len(mask) - 1):
            outer.append(np.arange(total, total + count))
        else:
            rim = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
            outer.append(rim[rim > 0].astype(np.int64) + before)
        if below is not None:
            touching = _touching(below[0], labels, count)
            pairs.append(np.stack([touching[0] + below[1], touching[1] + before]))
        below, total = (labels, before), total + count
    first, second = np.concatenate(pairs, axis=1)
    graph = sparse.coo_array((np.ones(first.size, dtype=bool), (first, second)), shape=(total, total))
    components, of_component = connected_components(graph, directed=False)
    enclosed = np.ones(components, dtype=bool)
    enclosed[of_component[np.concatenate(outer)]] = False
    holes: Mask = enclosed[of_component]
    return holes


def _background(plane: Mask) -> tuple[Labels, int]:
    from scipy import ndimage

    labels, count = ndimage.label(~plane)
    return labels, int(count)


def _touching(below: Labels, above: Labels, count: int) -> NDArray[np.int64]:
    """The pairs of components of two slices that share a face, (2, pairs); ``count`` is the number of those above."""
    both = (below > 0) & (above > 0)
    keys = below[both].astype(np.int64) * (count + 1) + above[both]
    # Along a row the same pair comes again and again.
    keys = np.unique(keys[np.flatnonzero(np.diff(keys, prepend=-1))])
    return np.stack([keys // (count + 1), keys % (count + 1)])
