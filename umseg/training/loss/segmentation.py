"""The loss of a network: the terms of a loss at every resolution, weighted for deep supervision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from umseg.training.loop.processes import Processes
from umseg.training.loss.head import HeadTargets
from umseg.training.loss.registry import LOSSES, Term
from umseg.training.loss.targets import Targets


@dataclass(frozen=True)
class SegmentationLoss:
    """The loss of a network.

    Attributes:
        targets: What the outputs are compared with.
        batch_dice: Dice over the batch as if it were one image; otherwise per sample, then the mean.
        name: A name in ``LOSSES``.
        processes: The processes that share a batch. In each of them the loss is that of the whole batch, and the mean
            of their gradients is that of the whole batch; only the worst tenth of ``dice_topk`` is found by each of
            them among its own samples.
    """

    targets: Targets
    batch_dice: bool
    name: str = "dice_ce"
    processes: Processes = field(default_factory=Processes)

    @cached_property
    def terms(self) -> tuple[Term, ...]:
        """The terms that are added up."""
        return LOSSES.look_up(self.name, "--loss").functions()

    def __call__(self, outputs: Sequence[Tensor], labels: Sequence[Tensor], share: float = 1.0) -> Tensor:
        """Weighted sum over the heads of a network (``deep_supervision_weights``).

        Args:
            outputs: Logits (batch, outputs, *spatial) per head, from the full resolution down.
            labels: (batch, *spatial) int64 label values at the heads' resolutions.
            share: Fraction of the batch that these samples are; the other processes have the others.
        """
        weights = deep_supervision_weights(len(outputs))
        losses = [
            weight * self.of_head(output, label, share)
            for weight, output, label in zip(weights, outputs, labels, strict=True)
            if weight > 0
        ]
        return torch.stack(losses).sum()

    def of_head(self, logits: Tensor, label: Tensor, share: float = 1.0) -> Tensor:
        """The loss of one head, a scalar in float32; shapes as above."""
        logits = logits.float()
        targets = HeadTargets(self.targets, self.batch_dice, self.processes, share)
        return torch.stack([term(logits, targets, label) for term in self.terms]).sum()


def deep_supervision_weights(heads: int) -> tuple[float, ...]:
    """Weights of the heads from the full resolution down: 1, 1/2, 1/4, ... with the last 0, normalised to sum 1.

    A network with one head has no lower one to leave out: its weight is 1 (the published rule divides 0 by 0 there).
    """
    if heads < 2:
        return (1.0,) * heads
    raw = [2.0**-i for i in range(heads - 1)] + [0.0]
    return tuple(w / sum(raw) for w in raw)
