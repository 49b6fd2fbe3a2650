"""Scores of label maps against references: DSC and NSD per case and class, F1 of objects, summary and report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from umseg.common.lazy import lazy_names

if TYPE_CHECKING:
    from umseg.evaluation.folder import evaluate_described, evaluate_folder, evaluate_pairs
    from umseg.evaluation.instance_pairs import evaluate_instances
    from umseg.evaluation.metrics.instances import instance_f1
    from umseg.evaluation.metrics.overlap import dice
    from umseg.evaluation.metrics.surface import surface_dice
    from umseg.evaluation.pairs import Pair
    from umseg.evaluation.records import InstanceMetrics, Metrics
    from umseg.evaluation.report import format_table, load_metrics, write_metrics

_HOME = {
    "InstanceMetrics": "records",
    "Metrics": "records",
    "Pair": "pairs",
    "dice": "metrics.overlap",
    "evaluate_described": "folder",
    "evaluate_folder": "folder",
    "evaluate_instances": "instance_pairs",
    "evaluate_pairs": "folder",
    "format_table": "report",
    "instance_f1": "metrics.instances",
    "load_metrics": "report",
    "surface_dice": "metrics.surface",
    "write_metrics": "report",
}

__all__ = [
    "InstanceMetrics",
    "Metrics",
    "Pair",
    "dice",
    "evaluate_described",
    "evaluate_folder",
    "evaluate_instances",
    "evaluate_pairs",
    "format_table",
    "instance_f1",
    "load_metrics",
    "surface_dice",
    "write_metrics",
]

__getattr__ = lazy_names(__name__, _HOME)
