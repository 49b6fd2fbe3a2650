"""Augmentation through batchgenerators: the transforms, order, probabilities and ranges of facts 1.9 (column U)."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Transform = Callable[..., dict[str, Any]]

ANISOTROPY = 3.0
ZOOM = (0.7, 1.4)
# The cut patch leaves room for rotation and for the smallest zoom of the published rule.
SMALLEST_ZOOM = 0.85


@dataclass(frozen=True)
class Geometry:
    """How a patch may be turned.

    Attributes:
        angle: Largest rotation about each axis, radians.
        in_plane: Slices are turned one by one in their plane ("dummy 2-D"): the patch is much thinner along axis 0.
        mirror_axes: Spatial axes that are mirrored.
        initial_patch: Size of the patch to cut, so that rotation and zoom see no border.
    """

    angle: float
    in_plane: bool
    mirror_axes: tuple[int, ...]
    initial_patch: tuple[int, ...]


def patch_geometry(patch: Sequence[int]) -> Geometry:
    """Rotation range, dummy 2-D, mirror axes and initial patch for a 2-D or 3-D patch size (facts 1.9)."""
    in_plane = len(patch) == 3 and max(patch) / patch[0] > ANISOTROPY
    if len(patch) == 2:
        angle = np.deg2rad(15 if max(patch) / min(patch) > 1.5 else 180)
    else:
        angle = np.deg2rad(180 if in_plane else 30)
    turned = _initial_patch(patch[1:], angle) if in_plane else _initial_patch(patch, angle)
    initial = (patch[0], *turned) if in_plane else turned
    return Geometry(float(angle), in_plane, tuple(range(len(patch))), initial)


def _initial_patch(patch: Sequence[int], angle: float) -> tuple[int, ...]:
    """The published bound: the size vector turned about each axis by ``angle``, 90 degrees at most, over the zoom."""
    cos, sin = np.cos(min(angle, np.pi / 2)), np.sin(min(angle, np.pi / 2))
    size = np.asarray(patch, dtype=float)
    reach = size.copy()
    for i, j in [(0, 1)] if len(patch) == 2 else [(0, 1), (1, 2), (2, 0)]:
        reach[i] = max(reach[i], abs(cos * size[i] + sin * size[j]))
        reach[j] = max(reach[j], abs(cos * size[j] - sin * size[i]))
    return tuple(int(r) for r in reach / SMALLEST_ZOOM)


class Augmentation:
    """Turns cut patches into training samples.

    Args:
        patch: Patch size that the network sees, 2-D or 3-D.
        use_mask: Per channel: voxels outside the nonzero region are set back to 0 at the end.
    """

    def __init__(self, patch: Sequence[int], use_mask: Sequence[bool]) -> None:
        self.patch = tuple(patch)
        self.geometry = patch_geometry(patch)
        self.use_mask = tuple(use_mask)
        self._spatial = _spatial_transform(self.patch, self.geometry)
        self._rest = _intensity_and_mirror(self.geometry)

    def __call__(
        self, data: NDArray[np.float32], label: NDArray[np.integer], seed: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int16]]:
        """Augment a batch.

        Args:
            data: (batch, channels, *initial_patch).
            label: (batch, *initial_patch), -1 outside the nonzero region.
            seed: The same seed gives the same result, whatever happened before.

        Returns:
            (batch, channels, *patch) float32, and (batch, *patch) int16 without negative values.
        """
        with _seeded(seed):
            batch = {"data": data, "seg": label[:, None].astype(np.float32)}
            if self.geometry.in_plane:
                batch = _slices_as_channels(batch)
            batch = self._spatial(**batch)
            if self.geometry.in_plane:
                batch = _channels_as_slices(batch, data.shape[1], self.patch)
            for transform in self._rest:
                batch = transform(**batch)
        images, labels = batch["data"], batch["seg"][:, 0]
        for channel, masked in enumerate(self.use_mask):
            if masked:
                images[:, channel][labels < 0] = 0
        return np.ascontiguousarray(images, np.float32), np.maximum(labels, 0).astype(np.int16)


def _spatial_transform(patch: tuple[int, ...], geometry: Geometry) -> Transform:
    from batchgenerators.transforms.spatial_transforms import SpatialTransform

    angle = (-geometry.angle, geometry.angle)
    transform: Transform = SpatialTransform(
        patch[1:] if geometry.in_plane else patch,
        do_elastic_deform=False,
        angle_x=angle,
        angle_y=angle,
        angle_z=angle,
        scale=ZOOM,
        border_mode_data="constant",
        order_data=3,
        border_mode_seg="constant",
        border_cval_seg=-1,
        order_seg=1,
        random_crop=False,
        p_rot_per_sample=0.2,
        p_scale_per_sample=0.2,
    )
    return transform


def _intensity_and_mirror(geometry: Geometry) -> list[Transform]:
    from batchgenerators.transforms.color_transforms import (
        BrightnessMultiplicativeTransform,
        ContrastAugmentationTransform,
        GammaTransform,
    )
    from batchgenerators.transforms.noise_transforms import GaussianBlurTransform, GaussianNoiseTransform
    from batchgenerators.transforms.resample_transforms import SimulateLowResolutionTransform
    from batchgenerators.transforms.spatial_transforms import MirrorTransform

    gamma = {"gamma_range": (0.7, 1.5), "per_channel": True, "retain_stats": True}
    return [
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


def _slices_as_channels(batch: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    return {key: value.reshape(value.shape[0], -1, *value.shape[3:]) for key, value in batch.items()}


def _channels_as_slices(batch: dict[str, Any], channels: int, patch: tuple[int, ...]) -> dict[str, NDArray[np.float32]]:
    counts = {"data": channels, "seg": 1}
    return {key: batch[key].reshape(len(batch[key]), count, *patch) for key, count in counts.items()}


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the global generators that batchgenerators draws from, and give them back as they were."""
    numpy_state, python_state = np.random.get_state(), random.getstate()
    np.random.seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)
