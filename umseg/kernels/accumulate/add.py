"""The addition of a window's weighted logits to sums, in place and without a copy of the window in float32."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umseg.kernels.runtime.threads import run_tasks


def add_weighted(
    sums: Tensor,
    logits: Tensor,
    weight: Tensor,
    target: Sequence[int],
    source: Sequence[int],
    flips: Sequence[int] = (),
) -> None:
    """Add ``weight * logits`` to sums, where the two overlap.

    118 classes of 96³ voxels in bfloat16 take 31 ms on one core of a server. With classes outermost in the sums, where
    neighbouring values lie far apart, they take ten times as long, and with torch's operators twenty times and 0.4 GB.

    Args:
        sums: (planes, rows, columns, classes) float32, contiguous; added to.
        logits: (classes, planes, rows, columns) of the window, on the device of ``sums``; quickest where classes are
            innermost in memory.
        weight: (planes, rows, columns) of the window, float32.
        target: First plane, row and column in ``sums``.
        source: First plane, row and column in the window. As many are added as both have from there on.
        flips: Axes 0 to 2 along which the logits are mirrored; the weights are not.
    """
    add = _add_planes if sums.device.type == "cpu" else _add_at_once
    add(sums, logits, weight, target, source, flips)


def _add_at_once(
    sums: Tensor,
    logits: Tensor,
    weight: Tensor,
    target: Sequence[int],
    source: Sequence[int],
    flips: Sequence[int],
) -> None:
    counts = [min(s - t, w - o) for s, t, w, o in zip(sums.shape, target, weight.shape, source, strict=False)]
    into = sums[tuple(slice(t, t + n) for t, n in zip(target, counts, strict=True))]
    of = tuple(slice(o, o + n) for o, n in zip(source, counts, strict=True))
    turned = (logits.flip([axis + 1 for axis in flips]) if flips else logits).permute(1, 2, 3, 0)
    # A GPU converts bfloat16 to float32 on the way; no copy is made.
    into.addcmul_(turned[of], weight[of].unsqueeze(-1))


def _add_planes(
    sums: Tensor,
    logits: Tensor,
    weight: Tensor,
    target: Sequence[int],
    source: Sequence[int],
    flips: Sequence[int],
) -> None:
    from umseg.kernels.accumulate.cpu_kernels import add_plane

    planes, factors = sums.numpy(), weight.numpy()
    last = [size - 1 for size in weight.shape]
    first = [
        end - start if axis in flips else start for axis, (start, end) in enumerate(zip(source, last, strict=True))
    ]
    step = [-1 if axis in flips else 1 for axis in range(3)]

    def worker(plane: int) -> None:
        values = _plane(logits[:, first[0] + step[0] * plane])
        add_plane(
            planes[target[0] + plane],
            values,
            factors[source[0] + plane],
            tuple(target[1:]),
            tuple(source[1:]),
            tuple(first[1:]),
            tuple(step[1:]),
        )

    run_tasks(lambda: worker, min(sums.shape[0] - target[0], weight.shape[0] - source[0]))


def _plane(logits: Tensor) -> NDArray[np.generic]:
    """(classes, rows, columns) as a contiguous array (rows, columns, classes); bfloat16 becomes uint16."""
    plane = logits.permute(1, 2, 0)
    if plane.dtype == torch.bfloat16:
        return plane.contiguous().view(torch.int16).numpy().view(np.uint16)
    return plane.float().contiguous().numpy()
