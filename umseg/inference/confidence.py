"""Confidence in a label map without a reference: how far the members that are averaged agree.

The mean Dice of all pairs of members is the best simple predictor of failure (Zenk et al., Medical Image Analysis
2025). Members are the folds of a model, or the mirrored predictions of a single fold; they are compared on the grid of
the network. Where several models predict together, each of them is a member, its folds averaged, and they are compared
on the voxels of the image. Either is done slab by slab, so that no label map of a member is kept.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umseg.inference.windows.slab import Slab

Counts = NDArray[np.int64]


class Agreement:
    """The pairwise Dice of members, summed up slab by slab.

    Args:
        members: Number of members, at least two.
        classes: Number of the networks' outputs.
        regions: Whether each output is a region by itself; otherwise output 0 is the background.
    """

    def __init__(self, members: int, classes: int, *, regions: bool = False) -> None:
        self._regions = regions
        self._classes = classes
        self._pairs = list(itertools.combinations(range(members), 2))
        self._sizes: Counts = np.zeros((members, classes), dtype=np.int64)
        self._common: Counts = np.zeros((len(self._pairs), classes), dtype=np.int64)

    def passing(self, slabs: Iterable[Slab]) -> Iterator[Slab]:
        """Count slabs whose sums are kept apart, and hand them on."""
        for slab in slabs:
            if slab.member_sums is not None:
                # The first row of a strip belongs to the strip before. Plane by plane: maps of a whole slab are large.
                for plane in slab.member_sums[:, :, :, 1 if slab.strip.start else 0 :].split(1, dim=2):
                    self.add(plane)
            yield slab

    def add(self, member_sums: Tensor) -> None:
        """Count the voxels of a slab.

        Args:
            member_sums: (members, classes, planes, rows, x) sums of weighted logits of each member. Voxels must not be
                given twice: rows that two strips share belong to one of them.
        """
        if self._regions:
            self._add_masks((member_sums > 0).flatten(2))
        else:
            self._add_labels(member_sums.argmax(dim=1).flatten(1))

    def add_maps(self, maps: Sequence[NDArray[Any]]) -> None:
        """Count the voxels of label maps; like those of ``add``, none may be given twice.

        Args:
            maps: The map of each member: the number of the output at each voxel (any shape), or with regions whether
                each region is there (outputs, any shape).
        """
        stacked = torch.from_numpy(np.stack(maps))
        if self._regions:
            self._add_masks(stacked.flatten(2))
        else:
            self._add_labels(stacked.flatten(1).long())

    def _add_masks(self, masks: Tensor) -> None:
        self._sizes += _host(masks.sum(dim=2))
        for number, (one, other) in enumerate(self._pairs):
            self._common[number] += _host((masks[one] & masks[other]).sum(dim=1))

    def _add_labels(self, labels: Tensor) -> None:
        self._sizes += np.stack([self._counts(found) for found in labels])
        for number, (one, other) in enumerate(self._pairs):
            self._common[number] += self._counts(labels[one][labels[one] == labels[other]])

    def dice(self) -> list[float]:
        """The mean Dice over pairs for each foreground output; NaN where no member has it.

        A pair of which one member has the class and the other has not scores 0; a pair of which neither has it is left
        out.
        """
        first = 0 if self._regions else 1
        return [self._mean(number) for number in range(first, self._classes)]

    def _counts(self, labels: Tensor) -> Counts:
        return _host(torch.bincount(labels, minlength=self._classes))

    def _mean(self, output: int) -> float:
        scores = []
        for (one, other), common in zip(self._pairs, self._common[:, output], strict=True):
            total = self._sizes[one, output] + self._sizes[other, output]
            if total:
                scores.append(2 * common / total)
        return float(np.mean(scores)) if scores else math.nan


def case_confidence(classes: Sequence[float]) -> float:
    """The confidence in a whole case: the mean over the classes that a member has; 1 if there is none.

    Where all members find nothing, they agree.

    Args:
        classes: Confidence of each foreground class; NaN where no member has it.
    """
    found = [value for value in classes if not math.isnan(value)]
    return float(np.mean(found)) if found else 1.0


def _host(counts: Tensor) -> Counts:
    return counts.cpu().numpy().astype(np.int64)
