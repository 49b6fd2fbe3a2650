"""Soft Dice (U-Mamba paper 3.2; docs/rules.md, Loss)."""

from __future__ import annotations

import torch
from torch import Tensor

from umseg.training.loss.head import HeadTargets

SMOOTHING = 1e-5


def dice(logits: Tensor, targets: HeadTargets, label: Tensor) -> Tensor:
    """Minus the mean soft Dice of the foreground outputs."""
    probability = targets.probability(logits)
    sums = dice_sums(probability, targets.masks(label), targets.batch_dice, targets.valid(label))
    if targets.batch_dice:
        return -soft_dice(*targets.processes.total(sums))[targets.foreground].mean()
    return targets.mean(-soft_dice(*sums)[:, targets.foreground].mean())


def dice_sums(probability: Tensor, reference: Tensor, batch_dice: bool, valid: Tensor | None = None) -> Tensor:
    """The sums over the voxels from which soft Dice is computed.

    Args:
        probability: (batch, classes, *spatial) float32.
        reference: Zeros and ones, of the same shape.
        batch_dice: Sum over the batch as if it were one image.
        valid: (batch, *spatial) bool: the voxels that count; None means all.

    Returns:
        (2, classes) or, per sample, (2, batch, classes): sum of p y, sum of p + y.
    """
    if valid is not None:
        probability, reference = probability * valid.unsqueeze(1), reference * valid.unsqueeze(1)
    axes = (*((0,) if batch_dice else ()), *range(2, probability.dim()))
    return torch.stack([(probability * reference).sum(axes), probability.sum(axes) + reference.sum(axes)])


def soft_dice(overlap: Tensor, total: Tensor) -> Tensor:
    """(2 sum p y + s) / max(sum p + sum y + s, 1e-8) with s = 1e-5, in (0, 1], from ``dice_sums``."""
    return (2 * overlap + SMOOTHING) / (total + SMOOTHING).clamp_min(1e-8)
