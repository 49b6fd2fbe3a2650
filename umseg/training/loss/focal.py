"""The focal loss (Lin et al. 2017)."""

from __future__ import annotations

import torch
from torch import Tensor

from umseg.training.loss.cross_entropy import voxelwise
from umseg.training.loss.head import HeadTargets

FOCUS = 2.0
"""Exponent of the weight."""


def focal(logits: Tensor, targets: HeadTargets, label: Tensor) -> Tensor:
    """Mean cross-entropy, each voxel weighted by (1 - p)^2, where p is the probability of its true label."""
    entropy = voxelwise(logits, targets, label)
    # The entropy is -log p.
    return targets.average(entropy * (1 - torch.exp(-entropy)) ** FOCUS, label)
