# mypy: disable-error-code="no-untyped-def, no-untyped-call"
"""The cells of 2x2x2 (2-D: 2x2) voxels that the surface of a mask runs through, as a numba kernel.

This module imports numba; import it only inside the functions that need it.
"""

from __future__ import annotations

import numpy as np

from umseg.kernels.runtime.jit import inner, jit


@inner
def join_rows(words, z, y, line):
    """Join the voxels of a column of cells' corners to one byte, for every x of a row of cells.

    A bit that is 1 in a voxel's byte is moved to the place of its corner; eight bytes are moved at once, which cannot
    reach into one another.
    """
    if words.shape[0] == 1:
        for w in range(len(line)):
            line[w] = (words[0, y, w] << np.uint64(2)) | words[0, y + 1, w]
        return
    for w in range(len(line)):
        line[w] = (
            (words[z, y, w] << np.uint64(6))
            | (words[z, y + 1, w] << np.uint64(4))
            | (words[z + 1, y, w] << np.uint64(2))
            | words[z + 1, y + 1, w]
        )


@jit("Tuple((intp[::1], int32[::1], uint8[::1]))(uint64[:,:,::1])")
def find_cells(words):
    """Find the cells that are neither inside nor outside as a whole.

    Args:
        words: The mask (z, y, x) in bytes of 0 and 1, eight to a word, with a margin of zeros: one voxel before the
            mask along each axis, at least one behind it. A mask of one plane, without a margin along z, is 2-D.

    Returns:
        The number of cells before each row of cells, rows ordered by (z, y); their x; their codes: one bit per
        corner, the first corner the highest, x fastest.
    """
    flat = words.shape[0] == 1
    planes, rows = max(words.shape[0] - 1, 1), words.shape[1] - 1
    inside = np.uint8(5 if flat else 85)
    full = np.uint64(0x0101010101010101) * np.uint64(inside)
    line = np.empty(words.shape[2], np.uint64)
    columns = line.view(np.uint8)
    starts = np.empty(planes * rows + 1, np.intp)
    xs, codes = np.empty(4096, np.int32), np.empty(4096, np.uint8)
    count = 0
    for z in range(planes):
        for y in range(rows):
            starts[z * rows + y] = count
            join_rows(words, z, y, line)
            if count + 8 * len(line) > len(xs):
                more = np.empty(len(xs) + 8 * len(line), np.int32)
                xs = np.concatenate((xs, more))
                codes = np.concatenate((codes, more.astype(np.uint8)))
            for w in range(len(line)):
                behind = columns[8 * w + 8] if w + 1 < len(line) else np.uint8(0)
                if (line[w] == 0 and behind == 0) or (line[w] == full and behind == inside):
                    continue
                for x in range(8 * w, 8 * w + 8):
                    following = columns[x + 1] if x + 1 < len(columns) else np.uint8(0)
                    if columns[x] != following or (columns[x] != 0 and columns[x] != inside):
                        xs[count] = x
                        codes[count] = (columns[x] << 1) | following
                        count += 1
    starts[planes * rows] = count
    return starts, xs[:count].copy(), codes[:count].copy()
