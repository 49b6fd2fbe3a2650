"""Detection of single lesions: the connected pieces of a class in both label maps, and which of them meet.

A lesion of the reference is detected, and one of the prediction is true, if it shares at least one voxel with a lesion
of the other map. With a threshold of the intersection over union
(IoU), lesions are matched one to one instead, as objects are (``objects``).

A key of a metric may say more: ``lesion_f1@0.1`` matches at an IoU of 0.1, ``lesion_sensitivity:0.1..1`` counts the
lesions of at least 0.1 and less than 1 ml (voxels where the files do not say how large voxels are, and in images of a
single slice), ``lesion_precision@0.1:1..`` those of at least 1 ml.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from umseg.evaluation.metrics.measurements import Measurements
from umseg.evaluation.metrics.metric import Metric
from umseg.evaluation.metrics.objects import best_pairs

_PERFECT = "; 1 is perfect."
_NUMBER = r"\d+(?:\.\d+)?"
_SUFFIX = re.compile(rf"(?:@(?P<iou>{_NUMBER}))?(?::(?P<low>{_NUMBER})?\.\.(?P<high>{_NUMBER})?)?")


def lesion_sensitivity(measured: Measurements, iou: float = 0.0, low: float = 0.0, high: float = math.inf) -> float:
    """The fraction of the reference's lesions that are detected; NaN where it has none of that size.

    Args:
        measured: The masks of a class.
        iou: Smallest IoU of two lesions that match, one to one; 0: one common voxel suffices.
        low: Smallest volume of the lesions that count, ml or voxels.
        high: The volume from which on they do not count.
    """
    return _fraction(*_sides(measured, iou)[1], measured, low, high)


def lesion_precision(measured: Measurements, iou: float = 0.0, low: float = 0.0, high: float = math.inf) -> float:
    """The fraction of the prediction's lesions that are true; NaN where it has none; as :func:`lesion_sensitivity`."""
    return _fraction(*_sides(measured, iou)[0], measured, low, high)


def lesion_f1(measured: Measurements, iou: float = 0.0, low: float = 0.0, high: float = math.inf) -> float:
    """The harmonic mean of lesion-wise sensitivity and precision; as :func:`lesion_sensitivity`.

    0 where only one of the two maps has lesions of that size; NaN where neither has.
    """
    found = [_fraction(*side, measured, low, high) for side in _sides(measured, iou)]
    if all(math.isnan(value) for value in found):
        return math.nan
    precision, sensitivity = (0.0 if math.isnan(value) else value for value in found)
    return 2 * precision * sensitivity / (precision + sensitivity) if precision + sensitivity else 0.0


def with_rule(metric: Metric, suffix: str) -> Metric | None:
    """The metric with the IoU and the sizes that the rest of its key states; None where that cannot be read."""
    match = _SUFFIX.fullmatch(suffix)
    if match is None:
        return None
    iou, low, high = (float(match[name] or default) for name, default in (("iou", 0), ("low", 0), ("high", math.inf)))
    if iou > 1 or not low < high or (match["iou"] and not iou) or suffix.endswith(":.."):
        return None
    rules = [f"matched at an IoU of {iou:g}"] if iou else []
    if ":" in suffix:
        rules.append(f"of {low:g} ml or more" if math.isinf(high) else f"of {low:g} to less than {high:g} ml")
    function: Callable[..., float] = metric.function
    return dataclasses.replace(
        metric,
        key=metric.key + suffix,
        title=metric.title + suffix,
        description=metric.description.replace(_PERFECT, "".join(f"; {rule}" for rule in rules) + _PERFECT),
        function=functools.partial(function, iou=iou, low=low, high=high),
    )


def _sides(measured: Measurements, iou: float) -> list[tuple[NDArray[np.int64], NDArray[np.bool_]]]:
    """Voxels of each lesion and whether it meets one of the other map, of the prediction and of the reference."""
    lesions = measured.lesions
    pairs = best_pairs(lesions, iou) if iou else np.arange(len(lesions.row))
    sides = []
    for sizes, met in ((lesions.predicted, lesions.row[pairs]), (lesions.referenced, lesions.column[pairs])):
        meets = np.zeros(len(sizes), np.bool_)
        meets[met] = True
        sides.append((sizes, meets))
    return sides


def _fraction(
    sizes: NDArray[np.int64], meets: NDArray[np.bool_], measured: Measurements, low: float, high: float
) -> float:
    """The fraction of the lesions of these sizes that meet one of the other map; NaN where there is none."""
    volumes = sizes * (1.0 if math.isnan(measured.voxel_ml) else measured.voxel_ml)
    counted = (volumes >= low) & (volumes < high)
    return float(meets[counted].mean()) if counted.any() else math.nan


def _metric(key: str, title: str, description: str, function: Callable[..., float]) -> Metric:
    return Metric(key, title, description + _PERFECT, "", "higher", "masks", function)


LESION_SENSITIVITY = _metric(
    "lesion_sensitivity",
    "lesion sensitivity",
    "fraction of the reference's lesions (connected pieces) that the prediction touches",
    lesion_sensitivity,
)
LESION_PRECISION = _metric(
    "lesion_precision",
    "lesion precision",
    "fraction of the prediction's lesions (connected pieces) that touch the reference",
    lesion_precision,
)
LESION_F1 = _metric("lesion_f1", "lesion F1", "harmonic mean of lesion-wise sensitivity and precision", lesion_f1)
LESION_METRICS = (LESION_F1, LESION_SENSITIVITY, LESION_PRECISION)
