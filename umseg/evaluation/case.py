"""Scores of one label map, class by class."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.dataset.io.grid import Unit
from umseg.evaluation.classes import Classes
from umseg.evaluation.metrics.counts import Counts
from umseg.evaluation.metrics.measurements import Measurements
from umseg.evaluation.metrics.metric import Metric
from umseg.evaluation.metrics.overlap import DSC
from umseg.evaluation.metrics.surface import NSD
from umseg.evaluation.records import ClassScores
from umseg.kernels.labels.joint import JointCounts, count_jointly


def score_labels(
    prediction: NDArray[np.integer[Any]],
    reference: NDArray[np.integer[Any]],
    spacing: tuple[float, float, float],
    classes: Classes,
    tolerances: Mapping[str, float],
    unit: Unit = "mm",
    metrics: Sequence[Metric] = (DSC, NSD),
    values: JointCounts | None = None,
    both_empty: float = math.nan,
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
        values: The pairs of values of the two maps, where they have been counted already.
        both_empty: Score of a class that neither map has, for metrics of which higher scores are better. By default it
            is not scored.
    """
    if values is None:
        values = count_jointly(prediction, reference)
    unknown = None
    if classes.ignore_label is not None and (values.second == classes.ignore_label).any():
        unknown = reference == classes.ignore_label
        reference = np.where(unknown, prediction, reference)
    voxel_ml = math.prod(spacing) / 1000 if unit == "mm" and reference.shape[0] > 1 else math.nan
    complete = any(metric.needs == "surfaces" for metric in metrics)
    scores = {}
    for name, members in classes.values.items():
        counts, box = measure_class(values, members, classes.ignore_label)
        part = _with_margin(box, reference.shape)
        measured = Measurements(
            prediction=_mask(prediction[part], members),
            reference=_mask(reference[part], members),
            spacing=spacing,
            tolerance=tolerances[name],
            voxel_ml=voxel_ml,
            unknown=None if unknown is None else unknown[part],
            complete=complete,
            counted=counts,
        )
        nothing = not counts.n_pred and not counts.n_ref
        scores[name] = ClassScores(
            scores={
                metric.key: both_empty if nothing and metric.better == "higher" else metric.function(measured)
                for metric in metrics
            },
            TP=counts.TP,
            FP=counts.FP,
            FN=counts.FN,
            n_pred=counts.n_pred,
            n_ref=counts.n_ref,
            volume_pred_ml=counts.n_pred * voxel_ml,
            volume_ref_ml=counts.n_ref * voxel_ml,
        )
    return scores


def measure_class(
    values: JointCounts, members: Sequence[int], ignore_label: int | None
) -> tuple[Counts, NDArray[np.int64]]:
    """The voxel counts of a class or region, and the box around it in both label maps.

    Args:
        values: The pairs of the values of prediction and reference.
        members: The values of the class.
        ignore_label: Value of the reference's voxels that are in no count. In the box they are what the prediction is.

    Returns:
        The counts, and the first z, y, x and one behind the last, (6,); zeros where neither map has the class.
    """
    inside, inside_ref = _among(values.first, members), _among(values.second, members)
    known = np.ones(len(inside), np.bool_) if ignore_label is None else values.second != ignore_label
    n_pred, n_ref, both = (
        int(values.voxels[chosen & known].sum()) for chosen in (inside, inside_ref, inside & inside_ref)
    )
    boxes = values.boxes[inside | inside_ref]
    box = np.zeros(6, np.int64)
    if len(boxes):
        box = np.concatenate((boxes[:, :3].min(axis=0), boxes[:, 3:].max(axis=0)))
    return Counts(both, n_pred - both, n_ref - both), box


def _among(array: NDArray[np.int64], members: Sequence[int]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = array == members[0] if len(members) == 1 else np.isin(array, members)
    return found


def _mask(array: NDArray[np.integer[Any]], members: Sequence[int]) -> NDArray[np.bool_]:
    """The voxels of a class. numpy compares a single value far more quickly than it looks values up."""
    mask: NDArray[np.bool_] = array == members[0]
    for member in members[1:]:
        mask |= array == member
    return mask


def _with_margin(box: NDArray[np.int64], shape: Sequence[int]) -> tuple[slice, ...]:
    # With one voxel of margin: a class that lies in one slice of a volume must not pass for a 2-D image.
    if not box.any():
        return (slice(0, 0),) * len(shape)
    return tuple(
        slice(max(int(first) - 1, 0), min(int(last) + 1, size))
        for first, last, size in zip(box[:3], box[3:], shape, strict=True)
    )
