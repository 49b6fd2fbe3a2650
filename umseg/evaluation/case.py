"""Scores of one label map, class by class."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from umseg.evaluation.metrics import ClassScores
from umseg.evaluation.overlap import overlap
from umseg.evaluation.surface import surface_dice


def score_labels(
    prediction: NDArray[np.integer[Any]],
    reference: NDArray[np.integer[Any]],
    spacing: tuple[float, float, float],
    labels: Mapping[str, int],
    tolerances: Mapping[str, float],
) -> dict[str, ClassScores]:
    """Score one label map, class by class.

    Args:
        prediction: (z, y, x) label values.
        reference: (z, y, x) label values, the same shape.
        spacing: (z, y, x) in mm. An image of one slice is evaluated as a 2-D image and has no volume.
        labels: Class name to label value.
        tolerances: Class name to the tolerance of the NSD in mm.
    """
    voxel_ml = math.prod(spacing) / 1000 if reference.shape[0] > 1 else math.nan
    scores = {}
    for name, box in _class_boxes(prediction, reference, labels).items():
        predicted, wanted = prediction[box] == labels[name], reference[box] == labels[name]
        counts = overlap(predicted, wanted)
        scores[name] = ClassScores(
            Dice=counts.dice,
            NSD=surface_dice(predicted, wanted, spacing, tolerances[name]),
            TP=counts.TP,
            FP=counts.FP,
            FN=counts.FN,
            n_pred=counts.n_pred,
            n_ref=counts.n_ref,
            volume_pred_ml=counts.n_pred * voxel_ml,
            volume_ref_ml=counts.n_ref * voxel_ml,
        )
    return scores


def _class_boxes(
    prediction: NDArray[np.integer[Any]], reference: NDArray[np.integer[Any]], labels: Mapping[str, int]
) -> dict[str, tuple[slice, ...]]:
    """A box per class that holds it in both label maps; empty where neither has it."""
    highest = max(labels.values())
    found = [ndimage.find_objects(array, max_label=highest) for array in (prediction, reference)]
    boxes = {}
    for name, value in labels.items():
        parts = [objects[value - 1] for objects in found if objects[value - 1] is not None]
        boxes[name] = _join(parts) if parts else (slice(0, 0),) * reference.ndim
    return boxes


def _join(boxes: Sequence[tuple[slice, ...]]) -> tuple[slice, ...]:
    # One voxel of margin, or a class that lies in one slice of a volume would pass for a 2-D image.
    return tuple(
        slice(max(min(side.start for side in sides) - 1, 0), max(side.stop for side in sides) + 1)
        for sides in zip(*boxes, strict=True)
    )
