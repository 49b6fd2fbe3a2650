"""Augmentation: random transforms of training samples, in torch.

Source: docs/rules.md, Augmentation.
"""

from umseg.training.augmentation.augmentation import Augmentation, Draws, empty_batch
from umseg.training.augmentation.patch_geometry import PatchGeometry, patch_geometry
from umseg.training.augmentation.pipelines import PIPELINES, TRANSFORMS, find_transforms
from umseg.training.augmentation.transform import Context, Transform
from umseg.training.augmentation.transforms.batchgenerators import BatchgeneratorsTransform

__all__ = [
    "PIPELINES",
    "TRANSFORMS",
    "Augmentation",
    "BatchgeneratorsTransform",
    "Context",
    "Draws",
    "PatchGeometry",
    "Transform",
    "empty_batch",
    "find_transforms",
    "patch_geometry",
]
