"""Transforms of the package batchgenerators: any of them, and the pipeline that U-Mamba built from them.

The package is an extra, ``pip install "umseg[batchgenerators]"``, and is imported when a transform is used. Its
transforms run on one sample at a time, on a CPU. They draw from the global random states of numpy and Python; both are
seeded for the call and restored afterwards.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from umseg.common.errors import UserError
from umseg.training.augmentation.transform import Context, Transform

PREFIX = "batchgenerators_"
REMEDY = 'pip install "umseg[batchgenerators]"'


class BatchgeneratorsTransform(Transform[int]):
    """Any transform of batchgenerators; the parameters are the seed of the global random states.

    It gets ``data``, (1, channels, *spatial) float32, and ``seg``, (1, planes, *spatial) float32 with -1 outside the
    nonzero region, and must return both in the same size.

    Args:
        name: Name in ``config.json``; it is part of the seed.
        transform: An ``AbstractTransform`` of batchgenerators.
        margin: Whether samples are cut with a margin around the final patch. The transform may then crop it, as
            ``SpatialTransform`` does, or leave the size as it is; it stands at the beginning of the pipeline.
    """

    on_gpu = False

    def __init__(self, name: str, transform: Callable[..., dict[str, Any]], margin: bool = False) -> None:
        self.name = name
        self.transform = transform
        self.margin = margin

    def draw(self, rng: np.random.Generator, context: Context) -> int:
        """Draw the seed; the transform itself decides whether it changes the sample."""
        return int(rng.integers(2**32))

    def apply(self, image: Tensor, label: Tensor, params: int) -> tuple[Tensor, Tensor]:
        """A changed copy of a sample."""
        return call(self.transform, image, label, params)


class ReferenceParams(NamedTuple):
    """The parameters of a part of the reference pipeline.

    Attributes:
        seed: Seed of the global random states.
        context: The facts that the transform is built from.
    """

    seed: int
    context: Context


class Reference(Transform[ReferenceParams]):
    """One transform of the pipeline that nnU-Net 2.0 to 2.4 and U-Mamba use.

    Patches may be 2-D or 3-D, also anisotropic ones, whose slices are rotated one by one. Label maps may hold regions,
    an ignore label, and in a cascade the first stage's segmentation, which moves with the reference.

    Args:
        part: One of ``PARTS``.
    """

    on_gpu = False

    def __init__(self, part: str) -> None:
        self.part = part
        self.name = PREFIX + part
        self.margin = part == "spatial"

    def draw(self, rng: np.random.Generator, context: Context) -> ReferenceParams | None:
        """Draw the seed; the transform itself decides whether it changes the sample."""
        if self.part == "mirror" and not context.geometry.mirror_axes:
            return None
        return ReferenceParams(int(rng.integers(2**32)), context)

    def apply(self, image: Tensor, label: Tensor, params: ReferenceParams) -> tuple[Tensor, Tensor]:
        """A changed copy of a sample."""
        transform = reference_transform(self.part, params.context)
        geometry = params.context.geometry
        if self.part != "spatial":
            return call(transform, image, label, params.seed)
        # Slices that are rotated one by one take the place of channels.
        slices, label_slices = (x.reshape(-1, *x.shape[-geometry.rotated_axes :]) for x in (image, label))
        image, label = call(transform, slices, label_slices, params.seed)
        return image.view(-1, *geometry.patch), label.view(-1, *geometry.patch)

    def check(self, context: Context) -> None:
        """Refuse a run without the package."""
        require_package()


def call(transform: Callable[..., dict[str, Any]], image: Tensor, label: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Apply a transform of batchgenerators to one sample.

    Args:
        transform: An ``AbstractTransform``.
        image: (channels, *spatial) float32; it is not changed.
        label: (planes, *spatial) int16.
        seed: Seed of the global random states.
    """
    with seeded(seed):
        result = transform(data=image[None].numpy().copy(), seg=label[None].numpy().astype(np.float32))
    changed = (np.ascontiguousarray(result[key][0]) for key in ("data", "seg"))
    data, seg = (torch.from_numpy(x) for x in changed)
    return data.to(image.dtype), seg.round().to(label.dtype)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global random states of numpy and Python, and restore them at the end."""
    numpy_state, python_state = np.random.get_state(), random.getstate()
    np.random.seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)


def require_package() -> None:
    """Refuse to go on without batchgenerators.

    Raises:
        UserError: The package is not installed.
    """
    if find_spec("batchgenerators") is None:
        raise UserError(
            "The transforms of batchgenerators need the package batchgenerators.",
            found="it is not installed",
            remedy=REMEDY,
        )


def is_foreign(transform: object) -> bool:
    """Whether an object is a transform of batchgenerators; does not import the package."""
    module = sys.modules.get("batchgenerators.transforms.abstract_transforms")
    return module is not None and isinstance(transform, module.AbstractTransform)


@lru_cache(maxsize=32)
def reference_transform(part: str, context: Context) -> Any:
    """Build one transform of the reference pipeline (docs/rules.md, Augmentation).

    Args:
        part: One of ``PARTS``.
        context: The facts about the run. With ``in_plane`` geometry the spatial transform expects slices as channels.
    """
    return PARTS[part](context)


def _spatial(context: Context) -> Any:
    from batchgenerators.transforms.spatial_transforms import SpatialTransform

    geometry = context.geometry
    angle = (-geometry.angle, geometry.angle)
    still = (0.0, 0.0)
    return SpatialTransform(
        geometry.patch[-geometry.rotated_axes :],
        do_elastic_deform=False,
        angle_x=angle,
        angle_y=angle if geometry.rotated_axes == 3 else still,
        angle_z=angle if geometry.rotated_axes == 3 else still,
        scale=(0.7, 1.4),
        border_mode_data="constant",
        order_data=3,
        border_mode_seg="constant",
        border_cval_seg=-1,
        order_seg=1,
        random_crop=False,
        p_rot_per_sample=0.2,
        p_scale_per_sample=0.2,
    )


def _noise(context: Context) -> Any:
    from batchgenerators.transforms.noise_transforms import GaussianNoiseTransform

    return GaussianNoiseTransform(p_per_sample=0.1)


def _blur(context: Context) -> Any:
    from batchgenerators.transforms.noise_transforms import GaussianBlurTransform

    return GaussianBlurTransform((0.5, 1.0), different_sigma_per_channel=True, p_per_sample=0.2, p_per_channel=0.5)


def _brightness(context: Context) -> Any:
    from batchgenerators.transforms.color_transforms import BrightnessMultiplicativeTransform

    return BrightnessMultiplicativeTransform((0.75, 1.25), p_per_sample=0.15)


def _contrast(context: Context) -> Any:
    from batchgenerators.transforms.color_transforms import ContrastAugmentationTransform

    return ContrastAugmentationTransform(p_per_sample=0.15)


def _low_resolution(context: Context) -> Any:
    from batchgenerators.transforms.resample_transforms import SimulateLowResolutionTransform

    return SimulateLowResolutionTransform(
        zoom_range=(0.5, 1),
        per_channel=True,
        p_per_channel=0.5,
        order_downsample=0,
        order_upsample=3,
        p_per_sample=0.25,
        ignore_axes=(0,) if context.geometry.in_plane else None,
    )


def _gamma(invert: bool, probability: float) -> Any:
    from batchgenerators.transforms.color_transforms import GammaTransform

    return GammaTransform((0.7, 1.5), invert, per_channel=True, retain_stats=True, p_per_sample=probability)


def _mirror(context: Context) -> Any:
    from batchgenerators.transforms.spatial_transforms import MirrorTransform

    return MirrorTransform(context.geometry.mirror_axes)


PARTS: dict[str, Callable[[Context], Any]] = {
    "spatial": _spatial,
    "noise": _noise,
    "blur": _blur,
    "brightness": _brightness,
    "contrast": _contrast,
    "low_resolution": _low_resolution,
    "gamma_inverted": lambda context: _gamma(True, 0.1),
    "gamma": lambda context: _gamma(False, 0.3),
    "mirror": _mirror,
}
"""The transforms of the reference pipeline, in their order."""
