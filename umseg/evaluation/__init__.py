"""Scores of label maps against references: metrics per case and class, F1 of objects, summary and report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from umseg.common.lazy import lazy_names

if TYPE_CHECKING:
    from umseg.evaluation.folder import evaluate_described, evaluate_folder, evaluate_pairs
    from umseg.evaluation.instance_pairs import evaluate_instances
    from umseg.evaluation.metrics.instances import instance_f1
    from umseg.evaluation.metrics.measurements import Measurements
    from umseg.evaluation.metrics.metric import Metric
    from umseg.evaluation.metrics.overlap import dice, iou, precision, sensitivity, volume_difference
    from umseg.evaluation.metrics.surface import assd, hd95, surface_dice
    from umseg.evaluation.pairs import Pair
    from umseg.evaluation.records import InstanceMetrics, Metrics, load_metrics
    from umseg.evaluation.report import format_table, write_metrics

_HOME = {
    "InstanceMetrics": "records",
    "Measurements": "metrics.measurements",
    "Metric": "metrics.metric",
    "Metrics": "records",
    "Pair": "pairs",
    "assd": "metrics.surface",
    "dice": "metrics.overlap",
    "evaluate_described": "folder",
    "evaluate_folder": "folder",
    "evaluate_instances": "instance_pairs",
    "evaluate_pairs": "folder",
    "format_table": "report",
    "hd95": "metrics.surface",
    "instance_f1": "metrics.instances",
    "iou": "metrics.overlap",
    "load_metrics": "records",
    "precision": "metrics.overlap",
    "sensitivity": "metrics.overlap",
    "surface_dice": "metrics.surface",
    "volume_difference": "metrics.overlap",
    "write_metrics": "report",
}

__all__ = [
    "InstanceMetrics",
    "Measurements",
    "Metric",
    "Metrics",
    "Pair",
    "assd",
    "dice",
    "evaluate_described",
    "evaluate_folder",
    "evaluate_instances",
    "evaluate_pairs",
    "format_table",
    "hd95",
    "instance_f1",
    "iou",
    "load_metrics",
    "precision",
    "sensitivity",
    "surface_dice",
    "volume_difference",
    "write_metrics",
]

__getattr__ = lazy_names(__name__, _HOME)
