"""The meaning of the network's outputs: one class per voxel, or regions that may overlap; and the voxels that count."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from umseg.dataset.description import DatasetDescription


@dataclass(frozen=True)
class Targets:
    """The rule by which label maps become targets of the outputs.

    Attributes:
        names: Foreground classes, in the order of the outputs.
        regions: Label values of each output in a data set with regions, whose outputs are sigmoids. None if output 0 is
            the background, output c the class of value c, and all outputs together a softmax.
        ignore_label: Label value of voxels that were not annotated; they never count.
    """

    names: tuple[str, ...]
    regions: tuple[tuple[int, ...], ...] | None = None
    ignore_label: int | None = None

    @classmethod
    def of(cls, description: DatasetDescription) -> Targets:
        """The targets of a data set."""
        regions = description.regions
        return cls(
            names=tuple(regions) if description.has_regions else tuple(description.foreground),
            regions=tuple(regions.values()) if description.has_regions else None,
            ignore_label=description.ignore_label,
        )

    @property
    def foreground(self) -> slice:
        """The outputs that are foreground."""
        return slice(None) if self.regions is not None else slice(1, None)

    def valid(self, label: Tensor) -> Tensor | None:
        """(batch, *spatial) bool: the annotated voxels; None means all of them."""
        return None if self.ignore_label is None else label != self.ignore_label

    def masks(self, label: Tensor) -> Tensor:
        """(batch, *spatial) int64 label values to (batch, outputs, *spatial) float32 of zeros and ones.

        A voxel without annotation belongs to no region; in a data set without regions it belongs to the background.
        """
        if self.regions is not None:
            return _membership(self.regions, self.ignore_label, label.device)[label].movedim(-1, 1)
        known = self.known(label)
        shape = (label.shape[0], len(self.names) + 1, *label.shape[1:])
        return torch.zeros(shape, device=label.device).scatter_(1, known.unsqueeze(1), 1.0)

    def known(self, label: Tensor) -> Tensor:
        """The label values, with the background in place of the ignore label."""
        return label if self.ignore_label is None else label.masked_fill(label == self.ignore_label, 0)

    def count(self, logits: Tensor, label: Tensor) -> Tensor:
        """The numbers of voxels that the hard prediction gets right and wrong (docs/rules.md, Optimisation).

        Args:
            logits: (batch, outputs, *spatial).
            label: (batch, *spatial) int64 label values.

        Returns:
            (foreground classes, 3) int64 on the logits' device: true positives, false positives, false negatives.
        """
        valid = self.valid(label)
        if self.regions is not None:
            predicted, truth = logits > 0, self.masks(label) > 0
            if valid is not None:
                predicted, truth = predicted & valid.unsqueeze(1), truth & valid.unsqueeze(1)
            axes = (0, *range(2, logits.dim()))
            right = (predicted & truth).sum(axes)
            return torch.stack([right, predicted.sum(axes) - right, truth.sum(axes) - right], dim=1)
        classes = len(self.names) + 1
        pairs = (self.known(label) * classes + logits.argmax(1)).flatten()
        weights = torch.ones_like(pairs) if valid is None else valid.flatten().long()
        confusion = torch.zeros(classes * classes, dtype=torch.int64, device=logits.device)
        confusion = confusion.scatter_add_(0, pairs, weights).view(classes, classes)
        right = confusion.diagonal()
        return torch.stack([right, confusion.sum(0) - right, confusion.sum(1) - right], dim=1)[1:]

    def dice(self, counts: Tensor) -> dict[str, float | None]:
        """2 TP / (2 TP + FP + FN) per class from ``count``; None where neither truth nor prediction has the class."""
        scores: dict[str, float | None] = {}
        for name, (hits, false_positives, misses) in zip(self.names, counts.tolist(), strict=True):
            total = 2 * hits + false_positives + misses
            scores[name] = 2 * hits / total if total else None
        return scores


@lru_cache(maxsize=8)
def _membership(regions: tuple[tuple[int, ...], ...], ignore_label: int | None, device: torch.device) -> Tensor:
    """(label values, regions) float32, 1 where the value belongs to the region."""
    values = max(max(region) for region in regions) if ignore_label is None else ignore_label
    table = torch.zeros(values + 1, len(regions))
    for index, region in enumerate(regions):
        table[list(region), index] = 1
    return table.to(device)
