"""How well single objects are found: F1 over matched instances (docs/rules.md, Evaluation)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching

from umseg.evaluation.records import InstanceScores


def instance_f1(
    prediction: NDArray[np.integer[Any]],
    reference: NDArray[np.integer[Any]],
    threshold: float = 0.5,
    border: int = 0,
) -> InstanceScores:
    """Match the objects of two instance maps and count them.

    Two objects may match if their intersection over union (IoU) is at least the threshold. As many pairs as possible
    are matched, no object twice. The published script maximises matches first and the IoU among them second: the
    counts are the same.

    Args:
        prediction: Any shape; 0 is the background, every other value is one object.
        reference: The same shape, likewise.
        threshold: Smallest IoU of a match, above 0 and at most 1.
        border: Width in voxels of the frame along the edges of the image; objects that reach into it are left out of
            both maps. Axes of one voxel have no frame. 0: all objects count. The paper's scores come from the published
            script, which takes 2.

    Raises:
        ValueError: The maps differ in shape or have negative values; the threshold or the border is out of range.
    """
    if prediction.shape != reference.shape:
        raise ValueError(f"instance maps differ in shape: {prediction.shape} and {reference.shape}")
    if not 0 < threshold <= 1 or border < 0:
        raise ValueError(f"the threshold must be above 0 and at most 1, the border at least 0: {threshold}, {border}")
    if min(prediction.min(initial=0), reference.min(initial=0)) < 0:
        raise ValueError("the numbers of objects must be positive")
    prediction, reference = without_border(prediction, border), without_border(reference, border)
    foreground = (prediction != 0) | (reference != 0)
    predicted_ids, predicted = np.unique(prediction[foreground], return_inverse=True)
    reference_ids, referenced = np.unique(reference[foreground], return_inverse=True)
    # Only pairs that share a voxel are looked at: there are hardly more of them than objects.
    pairs, shared = np.unique(predicted * len(reference_ids) + referenced, return_counts=True)
    row, column = np.divmod(pairs, max(len(reference_ids), 1))
    union = np.bincount(row, shared)[row] + np.bincount(column, shared)[column] - shared
    may_match = (predicted_ids[row] != 0) & (reference_ids[column] != 0) & (shared / union >= threshold)
    return count_objects(
        matched=_most_matches(row[may_match], column[may_match]),
        predicted=int(np.count_nonzero(predicted_ids)),
        referenced=int(np.count_nonzero(reference_ids)),
    )


def count_objects(matched: int, predicted: int, referenced: int) -> InstanceScores:
    """Scores from the numbers of matched pairs, of predicted objects and of reference objects."""
    return InstanceScores(
        TP=matched,
        FP=predicted - matched,
        FN=referenced - matched,
        precision=matched / predicted if predicted else math.nan,
        recall=matched / referenced if referenced else math.nan,
        F1=2 * matched / (predicted + referenced) if predicted + referenced else math.nan,
    )


def without_border(instances: NDArray[np.integer[Any]], border: int) -> NDArray[np.integer[Any]]:
    """The map without the objects that reach into the frame along the edges; see :func:`instance_f1`."""
    if border == 0:
        return instances
    frame = np.ones(instances.shape, dtype=np.bool_)
    frame[tuple(slice(border, -border) if size > 1 else slice(None) for size in instances.shape)] = False
    return np.where(np.isin(instances, np.unique(instances[frame])), 0, instances)


def _most_matches(row: NDArray[np.intp], column: NDArray[np.intp]) -> int:
    """The largest number of pairs (row, column) of which no two share a row or a column."""
    if not len(row):
        return 0
    graph = csr_matrix((np.ones(len(row), dtype=np.int8), (row, column)))
    return int(np.count_nonzero(maximum_bipartite_matching(graph, perm_type="column") >= 0))
