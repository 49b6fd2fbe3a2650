"""The cross-entropy of the voxels that are segmented worst."""

from __future__ import annotations

from torch import Tensor

from umseg.training.loss.cross_entropy import voxelwise
from umseg.training.loss.head import HeadTargets

TOP_SHARE = 0.1
"""Fraction of the voxels, those with the highest cross-entropy, whose mean is taken."""


def top_k(logits: Tensor, targets: HeadTargets, label: Tensor) -> Tensor:
    """Mean cross-entropy of the worst tenth of the voxels, which each process finds among its own samples."""
    values = targets.only_valid(voxelwise(logits, targets, label), label)
    worst = values.flatten().topk(max(1, int(TOP_SHARE * values.numel()))).values
    return targets.mean(worst.mean())
