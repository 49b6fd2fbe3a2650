"""Scores as a table to read, and as files."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

from umseg.common.files import atomic_path
from umseg.evaluation.metrics import Metrics, Statistic, Summary

_WORST_CASES = 3
_CSV_SCORES = ("Dice", "NSD", "TP", "FP", "FN", "n_pred", "n_ref", "volume_pred_ml", "volume_ref_ml")


def format_table(metrics: Metrics) -> str:
    """The scores as plain text: a row per class, the mean over classes, and the worst cases."""
    rows = [("class", "cases", "DSC (mean ± std)", "NSD (mean ± std)", "tolerance")]
    for name, summary in metrics.classes.items():
        rows.append((*_row(name, summary), f"{metrics.tolerance[name]:g} {metrics.unit}"))
    rows.append((*_row("mean of classes", metrics.foreground_mean), ""))
    return "\n".join([*_aligned(rows, underlined=(0, len(rows) - 2)), "", *_notes(metrics), *_worst(metrics)])


def write_metrics(metrics: Metrics, folder: Path) -> tuple[Path, Path]:
    """Write ``metrics.json`` and ``metrics.csv`` into a folder, each whole or not at all.

    The table has one row per case and class; a cell is empty where there is no score.

    Returns:
        The paths of the two files.

    Raises:
        UserError: The folder cannot be written or the disk is full.
    """
    document, table = Path(folder) / "metrics.json", Path(folder) / "metrics.csv"
    metrics.save(document)
    with atomic_path(table) as temporary, open(temporary, "w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(("case", "class", "label", *_CSV_SCORES))
        for case in metrics.cases:
            for name, scores in case.classes.items():
                values = (getattr(scores, field) for field in _CSV_SCORES)
                writer.writerow((case.case, name, metrics.labels[name], *map(_cell, values)))
    return document, table


def _cell(value: float) -> str:
    return "" if math.isnan(value) else repr(value)


def _row(name: str, summary: Summary) -> tuple[str, str, str, str]:
    return name, str(summary.n_cases), _mean_std(summary.Dice), _mean_std(summary.NSD)


def _mean_std(statistic: Statistic) -> str:
    return "-" if math.isnan(statistic.mean) else f"{statistic.mean:.3f} ± {statistic.std:.3f}"


def _aligned(rows: Sequence[Sequence[str]], underlined: Sequence[int]) -> list[str]:
    """Columns of equal width, the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for number, row in enumerate(rows):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("   ".join(cells).rstrip())
        if number in underlined:
            lines.append("-" * (sum(widths) + 3 * (len(widths) - 1)))
    return lines


def _notes(metrics: Metrics) -> list[str]:
    notes = [
        "DSC: overlap with the reference. NSD: share of the surfaces (in 2-D: contours) that is no farther than the",
        "tolerance from the other's. 1 is perfect, 0 is no agreement.",
    ]
    for name, summary in metrics.classes.items():
        if summary.n_not_evaluable:
            cases = "case is" if summary.n_not_evaluable == 1 else "cases are"
            notes.append(
                f"{name}: {summary.n_not_evaluable} {cases} not evaluable "
                "(the class is in neither the reference nor the prediction) and left out."
            )
    return notes


def _worst(metrics: Metrics) -> list[str]:
    evaluable = [case for case in metrics.cases if not math.isnan(case.Dice)]
    worst = sorted(evaluable, key=lambda case: (case.Dice, case.NSD, case.case))[:_WORST_CASES]
    if not worst:
        return []
    rows = [("worst cases", "DSC", "NSD"), *((case.case, f"{case.Dice:.3f}", f"{case.NSD:.3f}") for case in worst)]
    return ["", *_aligned(rows, underlined=(0,))]
