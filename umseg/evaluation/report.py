"""Scores as a table to read, and as files."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from umseg.common.files import atomic_path
from umseg.common.record import read_json
from umseg.evaluation.records import InstanceMetrics, Label, Metrics, Statistic, Summary

_WORST_CASES = 3
_CLASS_SCORES = ("Dice", "NSD", "TP", "FP", "FN", "n_pred", "n_ref", "volume_pred_ml", "volume_ref_ml")
_OBJECT_SCORES = ("F1", "precision", "recall", "TP", "FP", "FN")

Row = Sequence[object]


def format_table(metrics: Metrics | InstanceMetrics) -> str:
    """The scores as plain text: a row per class and the mean over classes, or a row of the objects; the worst cases."""
    lines = _instance_lines(metrics) if isinstance(metrics, InstanceMetrics) else _class_lines(metrics)
    return "\n".join(lines)


def write_metrics(metrics: Metrics | InstanceMetrics, folder: Path) -> tuple[Path, Path]:
    """Write ``metrics.json`` and ``metrics.csv`` into a folder, each whole or not at all.

    The table has one row per case and class (in an instance task: per case); a cell is empty where there is no score.

    Returns:
        The paths of the two files.

    Raises:
        UserError: The folder cannot be written or the disk is full.
    """
    document, table = Path(folder) / "metrics.json", Path(folder) / "metrics.csv"
    metrics.save(document)
    with atomic_path(table) as temporary, open(temporary, "w", encoding="utf-8", newline="") as handle:
        rows = _instance_rows(metrics) if isinstance(metrics, InstanceMetrics) else _class_rows(metrics)
        csv.writer(handle).writerows(rows)
    return document, table


def load_metrics(file: Path) -> Metrics | InstanceMetrics:
    """Read the ``metrics.json`` that ``write_metrics`` wrote.

    Raises:
        UserError: The file is damaged.
    """
    remedy = "Remove it; the same command then scores the fold again."
    content = read_json(file, remedy)
    kind = Metrics if isinstance(content, dict) and "classes" in content else InstanceMetrics
    return kind.from_json(content, file, remedy)


def _class_rows(metrics: Metrics) -> Iterator[Row]:
    yield "case", "class", "label", *_CLASS_SCORES
    for case in metrics.cases:
        for name, scores in case.classes.items():
            values = (getattr(scores, field) for field in _CLASS_SCORES)
            yield case.case, name, _label(metrics.labels[name]), *map(_cell, values)


def _instance_rows(metrics: InstanceMetrics) -> Iterator[Row]:
    yield "case", "class", *_OBJECT_SCORES, "Dice"
    for case in metrics.cases:
        values = (getattr(case.objects, field) for field in _OBJECT_SCORES)
        yield case.case, metrics.object_name, *map(_cell, values), _cell(case.Dice)


def _label(label: Label) -> str:
    return str(label) if isinstance(label, int) else " ".join(map(str, label))


def _cell(value: float) -> str:
    return "" if math.isnan(value) else repr(value)


def _class_lines(metrics: Metrics) -> list[str]:
    rows = [("class", "cases", "DSC (mean ± std)", "NSD (mean ± std)", "tolerance")]
    for name, summary in metrics.classes.items():
        unit = "mm or px" if metrics.unit == "mixed" else metrics.unit
        rows.append((*_row(name, summary), f"{metrics.tolerance[name]:g} {unit}"))
    rows.append((*_row("mean of classes", metrics.foreground_mean), ""))
    worst = _worst(("DSC", "NSD"), ((case.case, (case.Dice, case.NSD)) for case in metrics.cases))
    return [*_aligned(rows, underlined=(0, len(rows) - 2)), "", *_class_notes(metrics), *worst]


def _instance_lines(metrics: InstanceMetrics) -> list[str]:
    names = ("F1", "precision", "recall", "DSC")
    statistics = (metrics.F1, metrics.precision, metrics.recall, metrics.Dice)
    total = metrics.total
    rows = [
        ("objects", "cases", *(f"{name} (mean ± std)" for name in names)),
        (metrics.object_name, str(metrics.n_cases), *map(_mean_std, statistics)),
        ("all cases together", "", *(_number(value) for value in (total.F1, total.precision, total.recall)), ""),
    ]
    worst = _worst(("F1", "DSC"), ((case.case, (case.objects.F1, case.Dice)) for case in metrics.cases))
    return [*_aligned(rows, underlined=(0,)), "", *_instance_notes(metrics), *worst]


def _row(name: str, summary: Summary) -> tuple[str, str, str, str]:
    return name, str(summary.n_cases), _mean_std(summary.Dice), _mean_std(summary.NSD)


def _mean_std(statistic: Statistic) -> str:
    return "-" if math.isnan(statistic.mean) else f"{statistic.mean:.3f} ± {statistic.std:.3f}"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


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


def _class_notes(metrics: Metrics) -> list[str]:
    notes = [
        "DSC: overlap with the reference. NSD: share of the surfaces (in 2-D: contours) that is no farther than the",
        "tolerance from the other's. 1 is perfect, 0 is no agreement.",
    ]
    if metrics.unit == "mixed":
        pixels = sum(case.unit == "px" for case in metrics.cases)
        notes.append(f"The tolerance is in pixels in {pixels} cases, whose files do not say how large voxels are.")
    if metrics.ignore_label is not None:
        notes.append(f"Voxels of the value {metrics.ignore_label} (ignore) in the reference are left out.")
    for name, summary in metrics.classes.items():
        if summary.n_not_evaluable:
            notes.append(
                f"{name}: {_count_cases(summary.n_not_evaluable)} not evaluable "
                "(the class is in neither the reference nor the prediction) and left out."
            )
    return notes


def _instance_notes(metrics: InstanceMetrics) -> list[str]:
    total = metrics.total
    notes = [
        f"F1: an object is found if it and one of the reference share at least {metrics.threshold:g} of their union",
        f"(IoU). {total.TP} found, {total.FP} too many, {total.FN} missed. DSC: overlap of all objects as one mask.",
    ]
    if metrics.border:
        notes.append(f"Objects that reach into the outermost {metrics.border} voxels of the image are left out of F1.")
    if metrics.n_not_evaluable:
        notes.append(f"{_count_cases(metrics.n_not_evaluable)} not evaluable (without any object) and left out.")
    return notes


def _count_cases(number: int) -> str:
    return "1 case is" if number == 1 else f"{number} cases are"


def _worst(names: tuple[str, str], cases: Iterable[tuple[str, tuple[float, float]]]) -> list[str]:
    """The cases whose first score is lowest."""
    evaluable = [(scores, case) for case, scores in cases if not math.isnan(scores[0])]
    worst = sorted(evaluable)[:_WORST_CASES]
    if not worst:
        return []
    rows = [("worst cases", *names), *((case, *map(_number, scores)) for scores, case in worst)]
    return ["", *_aligned(rows, underlined=(0,))]
