"""Metrics of voxel counts: DSC, IoU, sensitivity, precision and the difference of the volumes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from umseg.evaluation.metrics.measurements import Mask, Measurements
from umseg.evaluation.metrics.metric import Metric


def dice(prediction: Mask, reference: Mask) -> float:
    """Dice similarity coefficient (DSC): twice the common voxels over the sum of both masks' voxels.

    Args:
        prediction: Any shape, boolean.
        reference: The same shape, boolean.

    Returns:
        0 (nothing in common) to 1 (identical). NaN where both masks are empty: there was nothing to find and nothing
        was found, so the case says nothing about the class (docs/rules.md, Evaluation).

    Raises:
        ValueError: The masks differ in shape, or one is not boolean.
    """
    return _dice(Measurements(prediction, reference))


def iou(prediction: Mask, reference: Mask) -> float:
    """Intersection over union (IoU, Jaccard index): the common voxels over the voxels of either mask.

    Arguments and errors are those of :func:`dice`. 0 to 1; NaN where both masks are empty.
    """
    return _iou(Measurements(prediction, reference))


def sensitivity(prediction: Mask, reference: Mask) -> float:
    """Sensitivity (recall): the fraction of the reference's voxels that the prediction contains.

    Arguments and errors are those of :func:`dice`. 0 to 1; NaN where the reference is empty.
    """
    return _sensitivity(Measurements(prediction, reference))


def precision(prediction: Mask, reference: Mask) -> float:
    """Precision: the fraction of the prediction's voxels that the reference contains.

    Arguments and errors are those of :func:`dice`. 0 to 1; NaN where the prediction is empty.
    """
    return _precision(Measurements(prediction, reference))


def volume_difference(prediction: Mask, reference: Mask, spacing: Sequence[float] | None = None) -> float:
    """Signed difference of the volumes: prediction minus reference.

    Args:
        prediction: (z, y, x), boolean.
        reference: The same shape, boolean.
        spacing: mm per voxel along each of the three axes; None: not known.

    Returns:
        Millilitres, or voxels where the spacing is not known: positive where the prediction is too large, negative
        where it is too small. NaN where both masks are empty.

    Raises:
        ValueError: The masks differ in shape, or one is not boolean; or the spacing is not three numbers.
    """
    if spacing is not None and len(spacing) != 3:
        raise ValueError(f"volumes have a spacing of three numbers, found {spacing}")
    voxel_ml = math.nan if spacing is None else math.prod(spacing) / 1000
    return _volume_difference(Measurements(prediction, reference, voxel_ml=voxel_ml))


def _dice(measured: Measurements) -> float:
    counts = measured.counts
    return _ratio(2 * counts.TP, counts.n_pred + counts.n_ref)


def _iou(measured: Measurements) -> float:
    counts = measured.counts
    return _ratio(counts.TP, counts.TP + counts.FP + counts.FN)


def _sensitivity(measured: Measurements) -> float:
    return _ratio(measured.counts.TP, measured.counts.n_ref)


def _precision(measured: Measurements) -> float:
    return _ratio(measured.counts.TP, measured.counts.n_pred)


def _volume_difference(measured: Measurements) -> float:
    counts = measured.counts
    if not counts.n_pred and not counts.n_ref:
        return math.nan
    return (counts.n_pred - counts.n_ref) * (1.0 if math.isnan(measured.voxel_ml) else measured.voxel_ml)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


DSC = Metric(
    key="dsc",
    title="DSC",
    description="overlap, twice the common voxels over the voxels of prediction plus reference; 1 is perfect.",
    unit="",
    better="higher",
    needs="counts",
    function=_dice,
)
IOU = Metric(
    key="iou",
    title="IoU",
    description="common voxels over the voxels of prediction or reference; 1 is perfect.",
    unit="",
    better="higher",
    needs="counts",
    function=_iou,
)
SENSITIVITY = Metric(
    key="sensitivity",
    title="sensitivity",
    description="fraction of the reference's voxels that the prediction contains; 1 is perfect.",
    unit="",
    better="higher",
    needs="counts",
    function=_sensitivity,
)
PRECISION = Metric(
    key="precision",
    title="precision",
    description="fraction of the prediction's voxels that the reference contains; 1 is perfect.",
    unit="",
    better="higher",
    needs="counts",
    function=_precision,
)
VOLUME_DIFFERENCE = Metric(
    key="volume_difference",
    title="volume difference",
    description="volume of the prediction minus that of the reference; 0 is perfect.",
    unit="ml",
    better="zero",
    needs="counts",
    function=_volume_difference,
)
