"""What a term of a loss knows besides logits and labels."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from umseg.training.loop.processes import Processes
from umseg.training.loss.targets import Targets


@dataclass(frozen=True)
class HeadTargets:
    """What the outputs of one head are compared with.

    Attributes:
        targets: The meaning of the outputs, and the voxels that count.
        batch_dice: Dice over the batch as if it were one image; otherwise per sample, then the mean.
        processes: The processes that share a batch.
        share: Fraction of the batch that these samples are; the other processes have the others.
    """

    targets: Targets
    batch_dice: bool
    processes: Processes = field(default_factory=Processes)
    share: float = 1.0

    @property
    def has_regions(self) -> bool:
        """Whether every output is a region of its own (sigmoid); otherwise the outputs exclude each other (softmax)."""
        return self.targets.regions is not None

    @property
    def foreground(self) -> slice:
        """The outputs that are foreground."""
        return self.targets.foreground

    def probability(self, logits: Tensor) -> Tensor:
        """(batch, outputs, *spatial) probabilities: softmax of classes, sigmoid of regions."""
        return torch.sigmoid(logits) if self.has_regions else torch.softmax(logits, dim=1)

    def masks(self, label: Tensor) -> Tensor:
        """(batch, outputs, *spatial) float32 of zeros and ones: where each output should be."""
        return self.targets.masks(label)

    def known(self, label: Tensor) -> Tensor:
        """The label values, with the background in place of the ignore label."""
        return self.targets.known(label)

    def valid(self, label: Tensor) -> Tensor | None:
        """(batch, *spatial) bool: the annotated voxels; None means all of them."""
        return self.targets.valid(label)

    def only_valid(self, values: Tensor, label: Tensor) -> Tensor:
        """(batch, channels, *spatial) values, with zeros (and zero gradients) in voxels without annotation."""
        valid = self.valid(label)
        return values if valid is None else torch.where(valid.unsqueeze(1), values, torch.zeros_like(values))

    def mean(self, mean: Tensor) -> Tensor:
        """Mean over the whole batch, from the mean over this process's samples; in a single process they are equal.

        A term of which every process has its own value ends with it: its gradient is then the whole batch's.
        """
        return self.processes.total(self.share * mean) if self.processes.count > 1 else mean

    def average(self, values: Tensor, label: Tensor) -> Tensor:
        """Mean of (batch, channels, *spatial) values over the annotated voxels of the whole batch.

        With an ignore label the sum goes over all channels and the count over the voxels once (docs/rules.md, Loss).
        """
        valid = self.valid(label)
        if valid is None:
            return self.mean(values.mean())
        total = self.processes.total(self.only_valid(values, label).sum())
        return total / self.processes.sum_(valid.sum()).clamp_min(1)
