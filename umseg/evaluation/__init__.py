"""Scores of label maps against references: DSC and NSD per case and class, their summary and report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from umseg.common.lazy import lazy_names

if TYPE_CHECKING:
    from umseg.evaluation.folder import evaluate_folder, evaluate_pairs
    from umseg.evaluation.metrics import Metrics
    from umseg.evaluation.overlap import dice
    from umseg.evaluation.pairs import Pair
    from umseg.evaluation.report import format_table, write_metrics
    from umseg.evaluation.surface import surface_dice

_HOME = {
    "Metrics": "metrics",
    "Pair": "pairs",
    "dice": "overlap",
    "evaluate_folder": "folder",
    "evaluate_pairs": "folder",
    "format_table": "report",
    "surface_dice": "surface",
    "write_metrics": "report",
}

__all__ = [
    "Metrics",
    "Pair",
    "dice",
    "evaluate_folder",
    "evaluate_pairs",
    "format_table",
    "surface_dice",
    "write_metrics",
]

__getattr__ = lazy_names(__name__, _HOME)
