# mypy: disable-error-code="no-untyped-def"
"""One plane of a window added to the sums on a CPU, as a numba kernel.

Product and sum are rounded one after the other. A fused operation would break ties: of two classes whose logits are
swapped between two windows of equal weight, neither would be larger but for the order of the windows.

This module imports numba; import it only inside the functions that need it.
"""

from __future__ import annotations

from umseg.kernels.runtime.bits import load
from umseg.kernels.runtime.jit import jit


@jit(
    "void(float32[:,:,::1], float32[:,:,::1], float32[:,::1], UniTuple(intp, 2), UniTuple(intp, 2), UniTuple(intp, 2),"
    " UniTuple(intp, 2))",
    "void(float32[:,:,::1], uint16[:,:,::1], float32[:,::1], UniTuple(intp, 2), UniTuple(intp, 2), UniTuple(intp, 2),"
    " UniTuple(intp, 2))",
)
def add_plane(sums, logits, weight, target, source, first, step):
    """Add a part of a plane of weighted logits.

    Args:
        sums: (rows, columns, classes), added to.
        logits: (rows, columns, classes) of the window; uint16 is bfloat16.
        weight: (rows, columns) of the window.
        target: First row and column in ``sums``.
        source: First row and column in ``weight``.
        first: First row and column in ``logits``.
        step: Number of rows and columns from one row and column to the next in ``logits``: 1, or -1 where the window
            is mirrored. As many are added as there are in ``sums`` from ``target`` on, or in ``weight`` from
            ``source`` on.
    """
    rows = min(sums.shape[0] - target[0], weight.shape[0] - source[0])
    columns = min(sums.shape[1] - target[1], weight.shape[1] - source[1])
    for row in range(rows):
        for column in range(columns):
            factor = weight[source[0] + row, source[1] + column]
            total = sums[target[0] + row, target[1] + column]
            values = logits[first[0] + step[0] * row, first[1] + step[1] * column]
            for c in range(total.shape[0]):
                total[c] += load(values[c]) * factor
