"""The augmentation as batchgenerators does it, for comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from batchgenerators.transforms.spatial_transforms import SpatialTransform
from numpy.typing import NDArray

from umseg.training.augmentation import Context
from umseg.training.augmentation.transforms.batchgenerators import PARTS, reference_transform


def spatial_transform(patch: Sequence[int], angles: Sequence[tuple[float, float]], scale: tuple[float, float]) -> Any:
    """Rotates and zooms every sample."""
    x, y, z = (*angles, *[(0.0, 0.0)] * (3 - len(angles)))
    return SpatialTransform(
        tuple(patch),
        do_elastic_deform=False,
        angle_x=x,
        angle_y=y,
        angle_z=z,
        scale=scale,
        border_mode_data="constant",
        order_data=3,
        border_mode_seg="constant",
        border_cval_seg=-1,
        order_seg=1,
        random_crop=False,
        p_rot_per_sample=1.0,
        p_scale_per_sample=1.0,
    )


def augment(
    data: NDArray[np.float32], label: NDArray[np.integer[Any]], context: Context
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """U-Mamba's pipeline on whole batches, (batch, channels, *initial) and (batch, *initial).

    It draws from numpy's global state.
    """
    geometry = context.geometry
    batch, channels = data.shape[:2]
    axes = data.shape[-geometry.rotated_axes :]
    spatial, *others = (reference_transform(part, context) for part in PARTS)
    cropped = spatial(data=data.reshape(batch, -1, *axes), seg=label.reshape(batch, -1, *axes).astype(np.float32))
    changed = {
        "data": cropped["data"].reshape(batch, channels, *geometry.patch),
        "seg": cropped["seg"].reshape(batch, 1, *geometry.patch),
    }
    for transform in others:
        changed = transform(**changed)
    return changed["data"], changed["seg"][:, 0]
