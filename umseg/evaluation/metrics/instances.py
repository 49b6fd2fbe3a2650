"""F1 over matched instances, as the records hold it (docs/rules.md, Evaluation)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.evaluation.metrics.objects import ObjectScores, score_objects
from umseg.evaluation.records import InstanceScores, ThresholdScores


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
        prediction: At most three axes; 0 is the background, every other value is one object.
        reference: The same shape, likewise.
        threshold: Smallest IoU of a match, above 0 and at most 1.
        border: Width in voxels of the frame along the edges of the image; objects that reach into it are left out of
            both maps. Axes of one voxel have no frame. 0: all objects count. The paper's scores come from the published
            script, which takes 2.

    Raises:
        ValueError: The maps differ in shape or have negative values; the threshold or the border is out of range.
    """
    (scores,) = score_objects(prediction, reference, [threshold], border)
    return count_objects(scores.TP, scores.TP + scores.FP, scores.TP + scores.FN)


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


def at_threshold(scores: ObjectScores) -> ThresholdScores:
    """The scores at one threshold, as the records hold them."""
    fields = ("threshold", "TP", "FP", "FN", "F1", "AP", "SQ", "PQ")
    return ThresholdScores(**{field: getattr(scores, field) for field in fields})
