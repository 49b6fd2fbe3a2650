"""Which objects of two instance maps match (docs/rules.md, Evaluation), and the scores that follow.

Everything is computed from the pairs of values of both maps: there are hardly more of them than objects, so that images
with tens of thousands of objects take no loop over objects.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.kernels.labels.joint import JointCounts, count_jointly


@dataclass(frozen=True)
class ObjectScores:
    """How well single objects are found, at one threshold of the intersection over union (IoU).

    Attributes:
        threshold: Smallest IoU of two objects that match.
        TP: Pairs of objects that match.
        FP: Objects of the prediction alone.
        FN: Objects of the reference alone.
        total_iou: Sum of the IoU of the matched pairs.
    """

    threshold: float
    TP: int
    FP: int
    FN: int
    total_iou: float

    @property
    def precision(self) -> float:
        """TP / (TP + FP); NaN where the prediction has no object."""
        return _ratio(self.TP, self.TP + self.FP)

    @property
    def recall(self) -> float:
        """TP / (TP + FN); NaN where the reference has no object."""
        return _ratio(self.TP, self.TP + self.FN)

    @property
    def F1(self) -> float:
        """2 TP / (2 TP + FP + FN), also called recognition quality (RQ); NaN where neither map has an object."""
        return _ratio(2 * self.TP, 2 * self.TP + self.FP + self.FN)

    @property
    def AP(self) -> float:
        """TP / (TP + FP + FN), the average precision of StarDist and Cellpose; NaN where neither map has an object."""
        return _ratio(self.TP, self.TP + self.FP + self.FN)

    @property
    def SQ(self) -> float:
        """Segmentation quality: mean IoU of the matched pairs; NaN where there is none."""
        return _ratio(self.total_iou, self.TP)

    @property
    def PQ(self) -> float:
        """Panoptic quality, SQ times RQ (Kirillov et al. 2019, arXiv:1801.00868); NaN where neither has an object."""
        return _ratio(2 * self.total_iou, 2 * self.TP + self.FP + self.FN)


@dataclass(frozen=True)
class Overlaps:
    """The objects of two instance maps, and which of them share voxels.

    Attributes:
        predicted: (p,) voxels of each object of the prediction.
        referenced: (r,) voxels of each object of the reference.
        row: (pairs,) object of the prediction, for each pair that shares a voxel.
        column: (pairs,) object of the reference.
        iou: (pairs,) their intersection over union.
    """

    predicted: NDArray[np.int64]
    referenced: NDArray[np.int64]
    row: NDArray[np.intp]
    column: NDArray[np.intp]
    iou: NDArray[np.float64]


def score_objects(
    prediction: NDArray[np.integer[Any]],
    reference: NDArray[np.integer[Any]],
    thresholds: Sequence[float],
    border: int = 0,
) -> list[ObjectScores]:
    """Match the objects of two instance maps at each threshold.

    As many pairs as possible are matched, no object twice, and among these choices that with the largest sum of IoU is
    taken.

    Args:
        prediction: At most three axes; 0 is the background, every other value is one object.
        reference: The same shape, likewise.
        thresholds: Smallest IoU of a match, each above 0 and at most 1.
        border: As in :func:`find_overlaps`.

    Raises:
        ValueError: The maps differ in shape or have negative values; a threshold or the border is out of range.
    """
    values = count_jointly(prediction, reference)
    overlaps = find_overlaps(values, prediction.shape, border)
    return [match_objects(overlaps, threshold) for threshold in thresholds]


def find_overlaps(values: JointCounts, shape: Sequence[int], border: int = 0) -> Overlaps:
    """The objects of two instance maps and the pairs of them that share voxels.

    Args:
        values: The pairs of values of prediction and reference.
        shape: Voxels along each axis.
        border: Width in voxels of the frame along the edges of the image; objects that reach into it are left out of
            both maps. Axes of one voxel have no frame. 0: all objects count.

    Raises:
        ValueError: A value or the border is negative.
    """
    if border < 0:
        raise ValueError(f"the border must be at least 0, found {border}")
    if min(values.first.min(initial=0), values.second.min(initial=0)) < 0:
        raise ValueError("the numbers of objects must be positive")
    in_frame = _reaches_frame(values.boxes, shape, border)
    row, predicted = _objects(values.first, values.voxels, in_frame)
    column, referenced = _objects(values.second, values.voxels, in_frame)
    common = (row >= 0) & (column >= 0)
    row, column, shared = row[common], column[common], values.voxels[common]
    iou = shared / (predicted[row] + referenced[column] - shared)
    return Overlaps(predicted, referenced, row, column, iou)


def find_components(prediction: NDArray[np.bool_], reference: NDArray[np.bool_]) -> Overlaps:
    """The connected pieces of two masks of one shape, and the pairs of them that share voxels.

    Voxels that share a corner belong together (26 neighbours in 3-D, 8 in 2-D).
    """
    from scipy import ndimage  # here, so that the metrics can be listed at once

    corners = ndimage.generate_binary_structure(prediction.ndim, prediction.ndim)
    labels = [ndimage.label(mask, corners)[0] for mask in (prediction, reference)]
    return find_overlaps(count_jointly(*labels), prediction.shape)


def match_objects(overlaps: Overlaps, threshold: float) -> ObjectScores:
    """Match objects whose IoU is at least the threshold; see :func:`score_objects`.

    Raises:
        ValueError: The threshold is out of range.
    """
    pairs = best_pairs(overlaps, threshold)
    found, total = len(pairs), float(overlaps.iou[pairs].sum())
    return ObjectScores(threshold, found, len(overlaps.predicted) - found, len(overlaps.referenced) - found, total)


def best_pairs(overlaps: Overlaps, threshold: float) -> NDArray[np.intp]:
    """The pairs that are matched: as many as possible, and among these choices those with the largest sum of IoU.

    Args:
        overlaps: The objects.
        threshold: Smallest IoU of a match, above 0 and at most 1.

    Returns:
        Indices into the pairs of ``overlaps``.

    Raises:
        ValueError: The threshold is out of range.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"the threshold must be above 0 and at most 1, found {threshold}")
    pairs = np.flatnonzero(overlaps.iou >= threshold)
    row, column = overlaps.row[pairs], overlaps.column[pairs]
    contested = (np.bincount(row)[row] > 1) | (np.bincount(column)[column] > 1) if len(pairs) else pairs > 0
    chosen = ~contested
    if contested.any():
        chosen[contested] = _assigned(row[contested], column[contested], overlaps.iou[pairs][contested])
    return pairs[chosen]


def _reaches_frame(boxes: NDArray[np.int64], shape: Sequence[int], border: int) -> NDArray[np.bool_]:
    """Whether each box reaches into the frame."""
    reaching = np.zeros(len(boxes), np.bool_)
    for axis, size in enumerate(shape, start=3 - len(shape)):
        if size > 1:
            reaching |= (boxes[:, axis] < border) | (boxes[:, 3 + axis] > size - border)
    return reaching


def _objects(
    values: NDArray[np.int64], voxels: NDArray[np.int64], in_frame: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """The object of each pair, -1 for the background and for objects in the frame, and the objects' voxels."""
    names, number = np.unique(values, return_inverse=True)
    counted = names != 0
    counted[number[in_frame]] = False
    numbering = np.where(counted, np.cumsum(counted) - 1, -1)
    sizes = np.bincount(number, weights=voxels, minlength=len(names)).astype(np.int64)
    return numbering[number], sizes[counted]


def _assigned(row: NDArray[np.intp], column: NDArray[np.intp], iou: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which pairs are matched, so that no two share a row or a column."""
    from scipy.sparse import csr_matrix  # as above
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    rows, row = np.unique(row, return_inverse=True)
    columns, column = np.unique(column, return_inverse=True)
    # Every row may remain without a partner, in a column of its own that costs more than all that a match can change.
    unmatched = np.arange(len(rows))
    costs = np.concatenate((2 - iou, np.full(len(rows), 2.0 * len(rows) + 2)))
    places = np.concatenate((row, unmatched)), np.concatenate((column, len(columns) + unmatched))
    graph = csr_matrix((costs, places), shape=(len(rows), len(columns) + len(rows)))
    chosen_row, chosen_column = min_weight_full_bipartite_matching(graph)
    partner = np.empty(len(rows), dtype=np.intp)
    partner[chosen_row] = chosen_column
    matched: NDArray[np.bool_] = partner[row] == column
    return matched


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
