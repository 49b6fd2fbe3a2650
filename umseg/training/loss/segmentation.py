"""The losses: Dice, cross-entropy and their relatives, with deep supervision.

Source: U-Mamba paper 3.2; docs/rules.md, Loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from umseg.training.loop.processes import Processes
from umseg.training.loss.targets import Targets

LossName = Literal["dice_ce", "dice", "ce", "dice_topk", "dice_focal"]

SMOOTHING = 1e-5
TOP_SHARE = 0.1
"""Share of the voxels, those with the highest cross-entropy, that ``dice_topk`` averages over."""
FOCUS = 2.0
"""Exponent of the focal loss (Lin et al. 2017)."""


@dataclass(frozen=True)
class SegmentationLoss:
    """The loss of a network.

    Attributes:
        targets: What the outputs are compared with.
        batch_dice: Dice over the batch as if it were one image; else per sample, then the mean.
        name: ``dice_ce`` is soft Dice plus cross-entropy, weights 1 and 1; ``dice`` and ``ce`` are one of the two;
            ``dice_topk`` averages the cross-entropy over the worst tenth of the voxels; ``dice_focal`` weights it by
            (1 - p)^2, p the probability of the truth. With regions the cross-entropy is the binary one.
        processes: That share a batch. Its loss is that of the whole batch in each of them, and their mean gradient is
            that of the whole batch; only the worst tenth of ``dice_topk`` is found in each share by itself.
    """

    targets: Targets
    batch_dice: bool
    name: LossName = "dice_ce"
    processes: Processes = field(default_factory=Processes)

    def __call__(self, outputs: Sequence[Tensor], labels: Sequence[Tensor], share: float = 1.0) -> Tensor:
        """Weighted sum over the heads of a network (``deep_supervision_weights``).

        Args:
            outputs: Logits (batch, outputs, *spatial) per head, from the full resolution down.
            labels: (batch, *spatial) int64 label values at the heads' resolutions.
            share: Of the batch that these samples are; the other processes have the rest.
        """
        weights = deep_supervision_weights(len(outputs))
        terms = [
            weight * self.of_head(output, label, share)
            for weight, output, label in zip(weights, outputs, labels, strict=True)
            if weight > 0
        ]
        return torch.stack(terms).sum()

    def of_head(self, logits: Tensor, label: Tensor, share: float = 1.0) -> Tensor:
        """The loss of one head, a scalar in float32; shapes as above."""
        logits = logits.float()
        terms = []
        if self.name != "ce":
            terms.append(self._dice(logits, label, share))
        if self.name != "dice":
            terms.append(self._cross_entropy(logits, label, share))
        return torch.stack(terms).sum()

    def _dice(self, logits: Tensor, label: Tensor, share: float) -> Tensor:
        softmax = self.targets.regions is None
        probability = torch.softmax(logits, dim=1) if softmax else torch.sigmoid(logits)
        sums = dice_sums(probability, self.targets.masks(label), self.batch_dice, self.targets.valid(label))
        if self.batch_dice:
            return -soft_dice(*self.processes.total(sums))[self.targets.foreground].mean()
        return self._mean(-soft_dice(*sums)[:, self.targets.foreground].mean(), share)

    def _cross_entropy(self, logits: Tensor, label: Tensor, share: float) -> Tensor:
        valid = self.targets.valid(label)
        if self.name in ("dice_ce", "ce") and valid is None:
            if self.targets.regions is None:
                return self._mean(F.cross_entropy(logits, label), share)
            return self._mean(F.binary_cross_entropy_with_logits(logits, self.targets.masks(label)), share)
        return self._average(self._voxelwise(logits, label), valid, share)

    def _mean(self, mean: Tensor, share: float) -> Tensor:
        """Mean over the batch, of means over the shares of the processes."""
        return self.processes.total(share * mean) if self.processes.count > 1 else mean

    def _voxelwise(self, logits: Tensor, label: Tensor) -> Tensor:
        """(batch, 1 or regions, *spatial) cross-entropy of every voxel; what nobody annotated is not taken out."""
        if self.targets.regions is None:
            entropy = F.cross_entropy(logits, self.targets.known(label), reduction="none").unsqueeze(1)
        else:
            entropy = F.binary_cross_entropy_with_logits(logits, self.targets.masks(label), reduction="none")
        # The entropy is -log p.
        return entropy * (1 - torch.exp(-entropy)) ** FOCUS if self.name == "dice_focal" else entropy

    def _average(self, values: Tensor, valid: Tensor | None, share: float) -> Tensor:
        if valid is not None:
            values = torch.where(valid.unsqueeze(1), values, torch.zeros_like(values))
        if self.name == "dice_topk":
            worst = values.flatten().topk(max(1, int(TOP_SHARE * values.numel()))).values
            return self._mean(worst.mean(), share)
        if valid is None:
            return self._mean(values.mean(), share)
        # docs/rules.md, Loss: with regions the sum goes over all of them, the count over the voxels once.
        return self.processes.total(values.sum()) / self.processes.sum_(valid.sum()).clamp_min(1)


def dice_sums(probability: Tensor, reference: Tensor, batch_dice: bool, valid: Tensor | None = None) -> Tensor:
    """Sums over the voxels of which soft Dice is made.

    Args:
        probability: (batch, classes, *spatial) float32.
        reference: Of the same shape, zeros and ones.
        batch_dice: Sum over the batch as if it were one image.
        valid: (batch, *spatial) bool: the voxels that count; None: all.

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


def deep_supervision_weights(heads: int) -> tuple[float, ...]:
    """Weights of the heads from the full resolution down: 1, 1/2, 1/4, ... with the last 0, normalised to sum 1.

    A network with one head has no lower one to leave out: its weight is 1 (the published rule divides 0 by 0 there).
    """
    if heads < 2:
        return (1.0,) * heads
    raw = [2.0**-i for i in range(heads - 1)] + [0.0]
    return tuple(w / sum(raw) for w in raw)
