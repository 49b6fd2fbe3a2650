"""What is measured on arrays in memory: one function for each side, which returns scores by class and metric.

Each takes prediction and reference (z, y, x) with the values 1 to ``classes``, the spacing in mm and the metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np

TOLERANCE = 1.0
Scores = dict[str, dict[str, float]]
Side = Callable[[np.ndarray, np.ndarray, Sequence[float], int, Sequence[str]], Scores]


def umseg(
    prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float], classes: int, metrics: Sequence[str]
) -> Scores:
    """umseg's scores."""
    from umseg.evaluation.case import score_labels
    from umseg.evaluation.classes import Classes
    from umseg.evaluation.metrics.registry import choose_metrics

    z, y, x = spacing
    values = Classes({str(value): (value,) for value in range(1, classes + 1)})
    tolerances = dict.fromkeys(values.values, TOLERANCE)
    chosen = choose_metrics(metrics)
    found = score_labels(prediction, reference, (z, y, x), values, tolerances, metrics=chosen)
    return {name: scores.scores for name, scores in found.items()}


def surface_distance(
    prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float], classes: int, metrics: Sequence[str]
) -> Scores:
    """Those of the package surface-distance, as its documentation computes them."""
    import surface_distance as peer

    functions: dict[str, Callable[[Any], float]] = {
        "nsd": lambda distances: float(peer.compute_surface_dice_at_tolerance(distances, TOLERANCE)),
        "hd95": lambda distances: float(peer.compute_robust_hausdorff(distances, 95)),
        "assd": lambda distances: float(sum(peer.compute_average_surface_distance(distances)) / 2),
    }
    scores = {}
    for value in range(1, classes + 1):
        masks = reference == value, prediction == value
        distances = peer.compute_surface_distances(*masks, spacing)
        scores[str(value)] = {"dsc": float(peer.compute_dice_coefficient(*masks))}
        scores[str(value)] |= {key: functions[key](distances) for key in metrics if key != "dsc"}
    return scores


def panoptica(
    prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float], classes: int, metrics: Sequence[str]
) -> Scores:
    """Those of panoptica, for which the classes are instances that are matched already: its shortest way."""
    peer, kinds = import_module("panoptica"), import_module("panoptica.metrics")
    names = {key: kinds.Metric[key.upper()] for key in metrics}
    evaluator = peer.Panoptica_Evaluator(
        expected_input=peer.InputType.MATCHED_INSTANCE, instance_metrics=list(names.values()), global_metrics=[]
    )
    maps = prediction.astype(np.uint8), reference.astype(np.uint8)
    result = evaluator.evaluate(*maps, voxelspacing=tuple(spacing), result_all=False, verbose=False)["ungrouped"]
    columns = {key: result.get_list_metric(metric, mode=kinds.MetricMode.ALL) for key, metric in names.items()}
    return {str(value + 1): {key: float(column[value]) for key, column in columns.items()} for value in range(classes)}


def monai(
    prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float], classes: int, metrics: Sequence[str]
) -> Scores:
    """Those of MONAI from one-hot tensors."""
    import torch
    from monai import metrics as peer

    torch.set_num_threads(1)
    shape = (1, classes + 1, *prediction.shape)
    first, second = torch.zeros(shape, dtype=torch.bool), torch.zeros(shape, dtype=torch.bool)
    for mask, array in ((first, prediction), (second, reference)):
        for value in range(classes + 1):
            mask[0, value] = torch.from_numpy(array == value)
    sides = list(spacing)
    functions: dict[str, Callable[[], torch.Tensor]] = {
        "dsc": lambda: peer.meandice.compute_dice(first, second, include_background=False),
        "nsd": lambda: peer.surface_dice.compute_surface_dice(first, second, [TOLERANCE] * classes, spacing=sides),
        "hd95": lambda: peer.hausdorff_distance.compute_hausdorff_distance(first, second, percentile=95, spacing=sides),
        "assd": lambda: peer.surface_distance.compute_average_surface_distance(
            first, second, symmetric=True, spacing=sides
        ),
    }
    columns = {key: functions[key]()[0].tolist() for key in metrics}
    return {str(value + 1): {key: column[value] for key, column in columns.items()} for value in range(classes)}


SIDES: dict[str, Side] = {
    "umseg": umseg,
    "surface-distance": surface_distance,
    "panoptica": panoptica,
    "MONAI": monai,
}
