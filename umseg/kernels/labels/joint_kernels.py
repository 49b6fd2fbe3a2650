# mypy: disable-error-code="no-untyped-def, no-untyped-call"
"""The pass over two label maps that finds the pairs of their values, as numba kernels.

This module imports numba; import it only inside the functions that need it.
"""

from __future__ import annotations

import numpy as np

from umseg.kernels.runtime.jit import inner, jit


@inner
def slot_of(a, b, mask):
    """The slot of a hash table at which the search for a pair begins."""
    mixed = np.uint64(a) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(b)
    mixed = (mixed ^ (mixed >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
    return np.int64((mixed ^ (mixed >> np.uint64(29))) & np.uint64(mask))


@inner
def find_pair(slots, pairs, a, b):
    """The slot that holds a pair, or the empty one where it belongs."""
    mask = len(slots) - 1
    slot = slot_of(a, b, mask)
    while slots[slot] >= 0 and (pairs[slots[slot], 0] != a or pairs[slots[slot], 1] != b):
        slot = (slot + 1) & mask
    return slot


@inner
def lengthened(array):
    """A copy of an array with room for twice as many rows."""
    longer = np.empty((2 * array.shape[0], array.shape[1]), array.dtype)
    longer[: array.shape[0]] = array
    return longer


@inner
def mark_ends(first, second, flags):
    """Set the flag of each voxel of a row behind which another run begins; plain enough for vector instructions."""
    for x in range(len(first) - 1):
        flags[x] = (first[x] != first[x + 1]) | (second[x] != second[x + 1])
    flags[len(first) - 1] = True


@inner
def run_end(flags, words, x):
    """One behind the last voxel of the run that voxel ``x`` of a row belongs to; ``words`` are the flags by eight."""
    while not flags[x]:
        x += 1
        if x & 7 == 0:
            while words[x >> 3] == 0:
                x += 8
    return x + 1


@jit()
def count_pairs(first, second):
    """Find all pairs of values, their voxels and their boxes.

    Args:
        first: Label values (z, y, x).
        second: The same shape.

    Returns:
        The pairs, (n, 2) int64; their number of voxels, (n,); the first z, y, x and one behind the last, (n, 6).
    """
    slots = np.full(256, -1, np.int32)
    pairs, rows = np.empty((128, 2), np.int64), np.empty((128, 7), np.int64)
    words = np.zeros(first.shape[2] // 8 + 1, np.uint64)
    flags = words.view(np.uint8)
    count = 0
    for z in range(first.shape[0]):
        for y in range(first.shape[1]):
            mark_ends(first[z, y], second[z, y], flags)
            start = 0
            while start < first.shape[2]:
                stop = run_end(flags, words, start)
                a, b = np.int64(first[z, y, start]), np.int64(second[z, y, start])
                slot = find_pair(slots, pairs, a, b)
                if slots[slot] < 0:
                    if count == len(pairs):
                        pairs, rows = lengthened(pairs), lengthened(rows)
                        slots = np.full(2 * len(slots), -1, np.int32)
                        for other in range(count):
                            slots[find_pair(slots, pairs, pairs[other, 0], pairs[other, 1])] = other
                        slot = find_pair(slots, pairs, a, b)
                    slots[slot] = count
                    pairs[count, 0], pairs[count, 1] = a, b
                    rows[count, 0], rows[count, 1], rows[count, 2], rows[count, 3] = 0, z, y, start
                    rows[count, 4], rows[count, 5], rows[count, 6] = z + 1, y + 1, stop
                    count += 1
                row = rows[slots[slot]]
                row[0] += stop - start
                row[2], row[3] = min(row[2], y), min(row[3], start)
                row[4], row[5], row[6] = z + 1, max(row[5], y + 1), max(row[6], stop)
                start = stop
    return pairs[:count].copy(), rows[:count, 0].copy(), rows[:count, 1:].copy()
