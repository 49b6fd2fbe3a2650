"""Scores of one label map, class by class."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from umseg.dataset.io.grid import Unit
from umseg.evaluation.classes import Classes
from umseg.evaluation.metrics.measurements import Measurements
from umseg.evaluation.metrics.metric import Metric
from umseg.evaluation.metrics.overlap import DSC
from umseg.evaluation.metrics.surface import NSD
from umseg.evaluation.records import ClassScores


def score_labels(
    prediction: NDArray[np.integer[Any]],
    reference: NDArray[np.integer[Any]],
    spacing: tuple[float, float, float],
    classes: Classes,
    tolerances: Mapping[str, float],
    unit: Unit = "mm",
    metrics: Sequence[Metric] = (DSC, NSD),
) -> dict[str, ClassScores]:
    """Score one label map, class by class.

    A region is the union of its values, in both label maps. Voxels that the reference does not annotate are in no
    count. For surface distances the reference is taken to continue there as the prediction does: a class that runs on
    into the unknown has no surface where the annotation ends, and surface that touches the unknown does not count.

    Args:
        prediction: (z, y, x) label values.
        reference: (z, y, x) label values, the same shape.
        spacing: Length of a voxel along z, y, x. An image of one slice is evaluated as a 2-D image and has no volume.
        classes: The classes that are scored.
        tolerances: Class name to the tolerance of surface distances, in ``unit``.
        unit: Unit of the spacing. In pixels there are no volumes.
        metrics: The scores to compute.
    """
    unknown = None if classes.ignore_label is None else reference == classes.ignore_label
    if unknown is not None:
        reference = np.where(unknown, prediction, reference)
    voxel_ml = math.prod(spacing) / 1000 if unit == "mm" and reference.shape[0] > 1 else math.nan
    scores = {}
    for name, box in _class_boxes(prediction, reference, classes.values).items():
        measured = Measurements(
            prediction=_mask(prediction[box], classes.values[name]),
            reference=_mask(reference[box], classes.values[name]),
            spacing=spacing,
            tolerance=tolerances[name],
            voxel_ml=voxel_ml,
            unknown=None if unknown is None else unknown[box],
            complete=any(metric.needs == "surfaces" for metric in metrics),
        )
        counts = measured.counts
        scores[name] = ClassScores(
            scores={metric.key: metric.function(measured) for metric in metrics},
            TP=counts.TP,
            FP=counts.FP,
            FN=counts.FN,
            n_pred=counts.n_pred,
            n_ref=counts.n_ref,
            volume_pred_ml=counts.n_pred * voxel_ml,
            volume_ref_ml=counts.n_ref * voxel_ml,
        )
    return scores


def _mask(array: NDArray[np.integer[Any]], values: Sequence[int]) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = array == values[0] if len(values) == 1 else np.isin(array, values)
    return mask


def _class_boxes(
    prediction: NDArray[np.integer[Any]], reference: NDArray[np.integer[Any]], classes: Mapping[str, Sequence[int]]
) -> dict[str, tuple[slice, ...]]:
    """A box per class that contains it in both label maps; empty where neither has it."""
    highest = max(max(values) for values in classes.values())
    found = [ndimage.find_objects(array, max_label=highest) for array in (prediction, reference)]
    boxes = {}
    for name, values in classes.items():
        parts = [objects[value - 1] for objects in found for value in values if objects[value - 1] is not None]
        boxes[name] = _join(parts) if parts else (slice(0, 0),) * reference.ndim
    return boxes


def _join(boxes: Sequence[tuple[slice, ...]]) -> tuple[slice, ...]:
    # With one voxel of margin: a class that lies in one slice of a volume must not pass for a 2-D image.
    return tuple(
        slice(max(min(side.start for side in sides) - 1, 0), max(side.stop for side in sides) + 1)
        for sides in zip(*boxes, strict=True)
    )
