"""The pipelines of transforms and every transform that has a name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from multiprocessing.reduction import ForkingPickler
from typing import Any

from umseg.common.errors import UserError
from umseg.common.registry import Registry
from umseg.training.augmentation.names import GROUP, NONE, OPTION, check_names, split_names
from umseg.training.augmentation.transform import Transform
from umseg.training.augmentation.transforms.batchgenerators import (
    PARTS,
    BatchgeneratorsTransform,
    Reference,
    is_foreign,
)
from umseg.training.augmentation.transforms.blur import Blur
from umseg.training.augmentation.transforms.brightness import Brightness
from umseg.training.augmentation.transforms.cascade_removal import CascadeRemoval
from umseg.training.augmentation.transforms.cascade_shape import CascadeShape
from umseg.training.augmentation.transforms.contrast import Contrast
from umseg.training.augmentation.transforms.gamma import Gamma
from umseg.training.augmentation.transforms.low_resolution import LowResolution
from umseg.training.augmentation.transforms.mirror import Mirror
from umseg.training.augmentation.transforms.noise import Noise
from umseg.training.augmentation.transforms.spatial import Spatial

AnyTransform = Transform[Any]
Pipeline = tuple[AnyTransform, ...]

GAMMA: Pipeline = (Gamma(probability=0.1, inverted=True, name="gamma_inverted"), Gamma())

PIPELINES: dict[str, Pipeline] = {
    "umamba": (Spatial(), Noise(), Blur(), Brightness(), Contrast(), LowResolution(), *GAMMA, Mirror()),
    "nnunet": (
        Spatial(zoom_by_halves=False, splines=False, name="spatial_linear"),
        Noise(),
        Blur(by_axis=True, name="blur_by_axis"),
        Brightness(),
        Contrast(),
        LowResolution(splines=False, name="low_resolution_linear"),
        *GAMMA,
        Mirror(),
    ),
    "batchgenerators": tuple(Reference(part) for part in PARTS),
}
"""``umamba``: batchgenerators' transforms as U-Mamba and nnU-Net 2.0 to 2.4 use them, in torch. ``nnunet``: the
transforms of newer releases of nnU-Net, batchgeneratorsv2's, which interpolate linearly and are faster.
``batchgenerators``: the transforms of ``umamba``, run by the package batchgenerators itself. Source: docs/rules.md,
Augmentation."""

CASCADE: Pipeline = (CascadeShape(), CascadeRemoval())
"""The transforms of the first stage's segmentation, which follow every pipeline in the second stage of a cascade."""

TRANSFORMS: Registry[AnyTransform] = Registry(
    "transform",
    GROUP,
    {transform.name: transform for pipeline in PIPELINES.values() for transform in pipeline},
    accepts=Transform,
    named_by="name",  # which is part of the seed
)


def find_transforms(chosen: str | Sequence[object]) -> Pipeline:
    """The transforms that a user chose, in their order.

    Args:
        chosen: Names of pipelines and transforms, separated by commas, or ``none``; or a sequence of such names,
            ``Transform`` objects, and transforms of batchgenerators.

    Raises:
        UserError: A name is unknown, a transform occurs twice, or transforms that need a margin do not come first.
    """
    parts: Sequence[object] = split_names(chosen) if isinstance(chosen, str) else chosen
    found = tuple(transform for part in parts for transform in _find(part))
    counts = Counter(transform.name for transform in found)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise UserError(
            f"The transform '{twice[0]}' occurs twice.",
            found=", ".join(transform.name for transform in found),
            expected="different names, because transforms of the same name would draw the same",
            remedy=f"Leave one out of {OPTION}, or give one of the objects another name.",
        )
    behind = [b.name for a, b in pairwise(found) if b.margin and not a.margin]
    if behind:
        raise UserError(
            f"The transform '{behind[0]}' needs a margin around the patch, which has been cropped at its place.",
            found=", ".join(transform.name for transform in found),
            expected="transforms with a margin at the beginning",
            remedy=f"Name it earlier in {OPTION}.",
        )
    return found


def recorded_name(chosen: str | Sequence[object]) -> str:
    """The text by which ``config.json`` records the transforms that a user chose: names, separated by commas."""
    if isinstance(chosen, str):
        chosen = split_names(chosen)
    names = [part if isinstance(part, str) else transform.name for part in chosen for transform in _find(part)]
    return ",".join(dict.fromkeys(names)) or NONE


def require_picklable(transforms: Pipeline) -> None:
    """Refuse transforms that cannot travel to worker processes.

    Raises:
        UserError: Names the first such transform.
    """
    for transform in transforms:
        try:
            ForkingPickler.dumps(transform)
        except Exception as error:  # whatever another package's object raises
            raise UserError(
                f"The transform '{transform.name}' cannot be sent to worker processes.",
                found=f"{type(error).__name__}: {error}",
                expected="an object that can be pickled, of a class at the top level of a module",
                remedy="Move the class to a module, or train without worker processes (workers=0, --workers 0).",
            ) from error


def _find(part: object) -> Pipeline:
    """The transforms that one name or object stands for."""
    if isinstance(part, Transform):
        return (part,)
    if is_foreign(part):
        return (BatchgeneratorsTransform(type(part).__name__, part),)  # type: ignore[arg-type]
    if not isinstance(part, str):
        raise UserError(
            "An object among the transforms is not a transform.",
            found=f"{part!r} of type {type(part).__name__}",
            expected="a name, a umseg Transform, or a transform of batchgenerators",
        )
    if part in PIPELINES:
        return PIPELINES[part]
    check_names(part)
    return (TRANSFORMS[part],)
