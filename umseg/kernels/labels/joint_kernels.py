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
def find_runs(first, second, words, ends):
    """Cut a row of both maps into runs of equal voxels.

    The loops are plain enough for vector instructions, and the second has no branch to guess but one per eight voxels.

    Args:
        first, second: The row in both maps.
        words: Scratch memory for one byte per voxel, as words of eight; zero behind the last voxel.
        ends: Array for one behind the last voxel of each run, eight longer than the row.

    Returns:
        The number of runs.
    """
    flags = words.view(np.uint8)
    last = len(first) - 1
    for x in range(last):
        flags[x] = (first[x] != first[x + 1]) | (second[x] != second[x + 1])
    flags[last] = 1
    count = 0
    for word in range(last // 8 + 1):
        if words[word]:
            for x in range(8 * word, 8 * word + 8):
                ends[count] = x + 1
                count += flags[x]
    return count


@inner
def grown(pairs, slots, count):
    """Room for twice as many pairs, and the hash table of the first ``count`` ones."""
    more = np.empty((2 * len(pairs), pairs.shape[1]), np.int64)
    more[:count] = pairs[:count]
    new_slots = np.full(2 * len(slots), -1, np.int32)
    for pair in range(count):
        new_slots[find_pair(new_slots, more, more[pair, 0], more[pair, 1])] = pair
    return more, new_slots


@inner
def add_runs(row, other, ends, runs, z, y, slots, pairs, count):
    """Add the runs of row ``y`` of plane ``z`` to the ``count`` pairs, and return how many there are then."""
    start = 0
    for run in range(runs):
        stop = ends[run]
        a, b = np.int64(row[start]), np.int64(other[start])
        slot = find_pair(slots, pairs, a, b)
        pair = slots[slot]
        if pair < 0:
            pair = count
            slots[slot] = pair
            pairs[pair, 0], pairs[pair, 1], pairs[pair, 2] = a, b, 0
            pairs[pair, 3], pairs[pair, 4], pairs[pair, 5], pairs[pair, 7], pairs[pair, 8] = z, y, start, y + 1, stop
            count += 1
        pairs[pair, 2] += stop - start
        pairs[pair, 4], pairs[pair, 5] = min(pairs[pair, 4], y), min(pairs[pair, 5], start)
        pairs[pair, 6] = z + 1
        pairs[pair, 7], pairs[pair, 8] = max(pairs[pair, 7], y + 1), max(pairs[pair, 8], stop)
        start = stop
    return count


@jit()
def count_pairs(first, second):
    """Find all pairs of values, their voxels and their boxes.

    Args:
        first: Label values (z, y, x), at least one along x.
        second: The same shape.

    Returns:
        A row for each pair, (n, 9) int64: both values, the number of voxels, the first z, y, x and one behind the last.
    """
    # With eight slots for each pair, nearly every search ends at the first one.
    slots, pairs = np.full(8 * 128, -1, np.int32), np.empty((128, 9), np.int64)
    width, count = first.shape[2], 0
    words, ends = np.zeros(width // 8 + 1, np.uint64), np.empty(width + 8, np.intp)
    for z in range(first.shape[0]):
        for y in range(first.shape[1]):
            runs = find_runs(first[z, y], second[z, y], words, ends)
            while count + runs > len(pairs):
                pairs, slots = grown(pairs, slots, count)
            count = add_runs(first[z, y], second[z, y], ends, runs, z, y, slots, pairs, count)
    return pairs[:count].copy()
