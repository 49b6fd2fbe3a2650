"""The memory that resampling a case needs at least, known from sizes and spacings before anything is allocated."""

from __future__ import annotations

import math
from collections.abc import Sequence

from umseg.common.memory import require_memory
from umseg.common.text import by
from umseg.preprocess.resampling.axis import separate_axis

REMEDY = (
    "Check the spacing in the header of this image, e.g. for metres in place of millimetres. If it is right, plan with "
    "a coarser --spacing, or take the case out of the data set."
)
_IMAGE_BYTES = 4
_OPERATOR_BYTES = 8


def resampling_bytes(
    shape: Sequence[int], new_shape: Sequence[int], spacing: Sequence[float], target: Sequence[float], channels: int
) -> int:
    """Bytes that resampling an image certainly needs at once: the result, and the matrix of each axis.

    Args:
        shape: Voxels per axis before.
        new_shape: Voxels per axis after.
        spacing: Spacing before, mm.
        target: Spacing after, mm.
        channels: Number of channels.
    """
    separate = separate_axis(spacing, target)
    sizes = enumerate(zip(shape, new_shape, strict=True))
    operators = {(old, new) for axis, (old, new) in sizes if old != new and axis != separate}
    return _IMAGE_BYTES * channels * math.prod(new_shape) + _OPERATOR_BYTES * sum(old * new for old, new in operators)


def require_resampling_memory(
    shape: Sequence[int],
    new_shape: Sequence[int],
    spacing: Sequence[float],
    target: Sequence[float],
    channels: int,
    available: int | None = None,
) -> None:
    """Refuse an image that cannot be resampled here; arguments as in ``resampling_bytes``.

    Args:
        shape: Voxels per axis before.
        new_shape: Voxels per axis after.
        spacing: Spacing before, mm.
        target: Spacing after, mm.
        channels: Number of channels.
        available: Bytes that can be had; None asks the machine.

    Raises:
        UserError: The image needs more memory than there is.
    """
    before, after = f"{by(shape)} voxels of {by(spacing)} mm (z, y, x)", f"{by(new_shape)} voxels of {by(target)} mm"
    require_memory(
        resampling_bytes(shape, new_shape, spacing, target, channels),
        "Resampling the image",
        found=f"{before}, which become {after}",
        remedy=REMEDY,
        available=available,
    )
