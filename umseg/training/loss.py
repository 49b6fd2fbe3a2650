"""Dice + cross-entropy with deep supervision (U-Mamba paper 3.2; facts 1.10)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

SMOOTHING = 1e-5


def soft_dice_loss(logits: Tensor, target: Tensor, batch_dice: bool) -> Tensor:
    """Negative mean soft Dice of the foreground classes, in (-1, 0).

    Args:
        logits: (batch, classes, *spatial).
        target: (batch, *spatial) int64 class values.
        batch_dice: Sum over the batch as if it were one image; else Dice per sample, then the mean.

    Returns:
        Scalar: -mean over classes of (2 sum p y + s) / max(sum p + sum y + s, 1e-8) with s = 1e-5, in float32.
    """
    probability = torch.softmax(logits.float(), dim=1)
    reference = torch.zeros_like(probability).scatter_(1, target.unsqueeze(1), 1.0)
    axes = (*((0,) if batch_dice else ()), *range(2, logits.dim()))
    overlap = (probability * reference).sum(axes)
    total = probability.sum(axes) + reference.sum(axes)
    dice = (2 * overlap + SMOOTHING) / (total + SMOOTHING).clamp_min(1e-8)
    return -dice[..., 1:].mean()


def dice_ce_loss(logits: Tensor, target: Tensor, batch_dice: bool) -> Tensor:
    """Soft Dice loss plus cross-entropy, weights 1 and 1; shapes as in ``soft_dice_loss``."""
    return soft_dice_loss(logits, target, batch_dice) + F.cross_entropy(logits.float(), target)


def deep_supervision_weights(heads: int) -> tuple[float, ...]:
    """Weights of the heads from the full resolution down: 1, 1/2, 1/4, ... with the last 0, normalised to sum 1.

    A network with one head has no lower one to leave out: its weight is 1 (the published rule divides 0 by 0 there).
    """
    if heads == 1:
        return (1.0,)
    raw = [2.0**-i for i in range(heads - 1)] + [0.0]
    return tuple(w / sum(raw) for w in raw)


def deep_supervision_loss(outputs: Sequence[Tensor], targets: Sequence[Tensor], batch_dice: bool) -> Tensor:
    """Weighted sum of ``dice_ce_loss`` over the heads; ``targets`` are at the heads' resolutions."""
    weights = deep_supervision_weights(len(outputs))
    terms = [
        weight * dice_ce_loss(output, target, batch_dice)
        for weight, output, target in zip(weights, outputs, targets, strict=True)
        if weight > 0
    ]
    return torch.stack(terms).sum()
