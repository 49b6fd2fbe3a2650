"""The augmentation as batchgenerators does it: what the tests compare with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from batchgenerators.transforms.color_transforms import (
    BrightnessMultiplicativeTransform,
    ContrastAugmentationTransform,
    GammaTransform,
)
from batchgenerators.transforms.noise_transforms import GaussianBlurTransform, GaussianNoiseTransform
from batchgenerators.transforms.resample_transforms import SimulateLowResolutionTransform
from batchgenerators.transforms.spatial_transforms import MirrorTransform, SpatialTransform
from numpy.typing import NDArray

from umseg.training.augmentation import Geometry


def spatial_transform(
    patch: Sequence[int], angles: Sequence[tuple[float, float]], scale: tuple[float, float], probability: float
) -> Any:
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
        p_rot_per_sample=probability,
        p_scale_per_sample=probability,
    )


def augment(
    data: NDArray[np.float32], label: NDArray[np.integer[Any]], patch: tuple[int, ...], geometry: Geometry
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """U-Mamba's pipeline on (batch, channels, *initial) and (batch, *initial); draws from numpy's global state.

    Source: docs/rules.md, Augmentation.
    """
    turned = patch[1:] if geometry.in_plane else patch
    angle = (-geometry.angle, geometry.angle)
    spatial = spatial_transform(turned, [angle] * (3 if len(turned) == 3 else 1), (0.7, 1.4), 0.2)
    gamma = {"gamma_range": (0.7, 1.5), "per_channel": True, "retain_stats": True}
    rest = [
        GaussianNoiseTransform(p_per_sample=0.1),
        GaussianBlurTransform((0.5, 1.0), different_sigma_per_channel=True, p_per_sample=0.2, p_per_channel=0.5),
        BrightnessMultiplicativeTransform((0.75, 1.25), p_per_sample=0.15),
        ContrastAugmentationTransform(p_per_sample=0.15),
        SimulateLowResolutionTransform(
            zoom_range=(0.5, 1),
            per_channel=True,
            p_per_channel=0.5,
            order_downsample=0,
            order_upsample=3,
            p_per_sample=0.25,
            ignore_axes=(0,) if geometry.in_plane else None,
        ),
        GammaTransform(invert_image=True, p_per_sample=0.1, **gamma),
        GammaTransform(invert_image=False, p_per_sample=0.3, **gamma),
        MirrorTransform(geometry.mirror_axes),
    ]
    batch, channels = data.shape[:2]
    axes = data.shape[-len(turned) :]
    cut = spatial(data=data.reshape(batch, -1, *axes), seg=label.reshape(batch, -1, *axes).astype(np.float32))
    changed = {"data": cut["data"].reshape(batch, channels, *patch), "seg": cut["seg"].reshape(batch, 1, *patch)}
    for transform in rest:
        changed = transform(**changed)
    return changed["data"], changed["seg"][:, 0]
