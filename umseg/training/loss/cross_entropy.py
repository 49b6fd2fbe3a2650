"""Cross-entropy, the binary one for regions (U-Mamba paper 3.2; docs/rules.md, Loss)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from umseg.training.loss.head import HeadTargets


def cross_entropy(logits: Tensor, targets: HeadTargets, label: Tensor) -> Tensor:
    """Mean cross-entropy of the annotated voxels."""
    if targets.valid(label) is not None:
        return targets.average(voxelwise(logits, targets, label), label)
    if targets.has_regions:
        return targets.mean(F.binary_cross_entropy_with_logits(logits, targets.masks(label)))
    return targets.mean(F.cross_entropy(logits, label))


def voxelwise(logits: Tensor, targets: HeadTargets, label: Tensor) -> Tensor:
    """(batch, 1 or regions, *spatial) cross-entropy of every voxel, including voxels without annotation."""
    if targets.has_regions:
        return F.binary_cross_entropy_with_logits(logits, targets.masks(label), reduction="none")
    return F.cross_entropy(logits, targets.known(label), reduction="none").unsqueeze(1)
