"""Scores as a table to read, and as files."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from umseg.common.errors import UserError
from umseg.common.files import write_csv
from umseg.common.text import counted, few, table, wrapped
from umseg.evaluation.metrics.metric import Better
from umseg.evaluation.records import (
    Description,
    InstanceMetrics,
    Label,
    MetricRecord,
    Metrics,
    ProtocolScores,
    Statistic,
    Summary,
    load_metrics,
)

_WORST_CASES = 3
_LONGEST_HEADER = 100
_CLASS_COUNTS = ("TP", "FP", "FN", "n_pred", "n_ref", "volume_pred_ml", "volume_ref_ml")
_OBJECT_SCORES = ("F1", "precision", "recall", "TP", "FP", "FN")
_PUBLISHED_SCORES = (*_OBJECT_SCORES, "Dice")
_GAP = 3

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
    json_file, csv_file = _files(folder)
    metrics.save(json_file)
    write_csv(csv_file, _instance_rows(metrics) if isinstance(metrics, InstanceMetrics) else _class_rows(metrics))
    return json_file, csv_file


def refuse_output(folder: Path, overwrite: bool = False) -> None:
    """Refuse a folder whose ``metrics.json`` or ``metrics.csv`` is not one that umseg wrote, or that is a file.

    Args:
        folder: The folder for ``write_metrics``.
        overwrite: Whether other files of these names may be replaced.

    Raises:
        UserError: The scores cannot, or must not, be written there.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(
            "The output is a file.", file=folder, expected="a folder", remedy="Name a folder with --output."
        )
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not os.access(existing, os.W_OK):
        raise UserError(
            "The output folder cannot be written.", file=folder, remedy="Name another folder with --output."
        )
    foreign = [file for file in _files(folder) if file.exists() and not _is_own(file)]
    if foreign and not overwrite:
        raise UserError(
            "The scores would replace a file that umseg did not write.",
            file=foreign[0],
            remedy="Name another folder with --output, or move the file; --overwrite replaces it.",
        )


def _files(folder: Path) -> tuple[Path, Path]:
    return Path(folder) / "metrics.json", Path(folder) / "metrics.csv"


def _is_own(file: Path) -> bool:
    """Whether a file holds scores, by its content."""
    try:
        if file.suffix == ".json":
            load_metrics(file)
            return True
        with file.open(encoding="utf-8") as handle:
            return handle.readline(_LONGEST_HEADER).startswith("case,class,")
    except (UserError, OSError, UnicodeDecodeError):
        return False


def _class_rows(metrics: Metrics) -> Iterator[Row]:
    yield "case", "class", "label", *metrics.metrics, *_CLASS_COUNTS
    for case in metrics.cases:
        for name, scores in case.classes.items():
            counts = (getattr(scores, field) for field in _CLASS_COUNTS)
            values = (*(scores.scores[key] for key in metrics.metrics), *counts)
            yield case.case, name, _label(metrics.labels[name]), *map(_cell, values)


def _instance_rows(metrics: InstanceMetrics) -> Iterator[Row]:
    published = () if metrics.protocol is None else _PUBLISHED_SCORES
    yield "case", "class", *_OBJECT_SCORES, "Dice", *(f"{field}_published" for field in published)
    for case in metrics.cases:
        values = [getattr(case.objects, field) for field in _OBJECT_SCORES]
        values += [case.Dice, *(getattr(case.published, field) for field in published)]
        yield case.case, metrics.object_name, *map(_cell, values)


def _label(label: Label) -> str:
    return str(label) if isinstance(label, int) else " ".join(map(str, label))


def _cell(value: float) -> str:
    return "" if math.isnan(value) else repr(value)


def _class_lines(metrics: Metrics) -> list[str]:
    columns = metrics.metrics
    titles = [_heading(metric) for metric in columns.values()]
    rows = [["class", "cases", *titles]]
    summaries = {**metrics.classes, "mean of classes": metrics.foreground_mean}
    for name, summary in summaries.items():
        scores = (_mean_std(summary.scores[key], _digits(metric)) for key, metric in columns.items())
        rows.append([name, str(summary.n_cases), *scores])
    if metrics.tolerance:
        unit = "mm or px" if metrics.unit == "mixed" else metrics.unit
        tolerances = (f"{metrics.tolerance[name]:g} {unit}" for name in metrics.classes)
        for row, cell in zip(rows, ("tolerance", *tolerances, ""), strict=True):
            row.append(cell)
    worst = _worst(columns, {case.case: tuple(case.scores[key] for key in columns) for case in metrics.cases})
    titles_by_key = {key: _heading(metric) for key, metric in columns.items()}
    over_cases = _over_cases({titles_by_key[key]: one for key, one in metrics.over_cases.items()})
    protocol = _protocol_lines(metrics.protocol)
    table_lines = _aligned(rows, underlined=(0, len(rows) - 2))
    return [*table_lines, "", *_fitting(_class_notes(metrics)), *protocol, *over_cases, *worst]


def _instance_lines(metrics: InstanceMetrics) -> list[str]:
    names = ("F1", "precision", "recall", "DSC")
    statistics = (metrics.F1, metrics.precision, metrics.recall, metrics.Dice)
    total = metrics.total
    rows = [
        ("objects", "cases", *names),
        (metrics.object_name, str(metrics.n_cases), *map(_mean_std, statistics)),
        ("all cases together", "", *(_number(value) for value in (total.F1, total.precision, total.recall)), ""),
    ]
    columns = {name: MetricRecord(title=name, description="", unit="", better="higher") for name in ("F1", "DSC")}
    worst = _worst(columns, {case.case: (case.objects.F1, case.Dice) for case in metrics.cases})
    over_cases = _over_cases(metrics.over_cases)
    protocol = _protocol_lines(metrics.protocol)
    notes = _fitting(_instance_notes(metrics))
    return [*_aligned(rows, underlined=(0,)), "", *notes, *protocol, *over_cases, *worst]


def _protocol_lines(protocol: ProtocolScores | None) -> list[str]:
    """The scores of a protocol over all cases, with as many digits as the paper gives."""
    if protocol is None or not protocol.published:
        return []
    rows = [[f"protocol {protocol.name}", *protocol.published]]
    for name, scores in (("published", protocol.published), ("corrected", protocol.corrected)):
        rows.append([f"{name}, mean", *(f"{_number(one.mean, 4)} ± {_number(one.sd, 4)}" for one in scores.values())])
        rows.append([f"{name}, median", *(_number(one.median, 4) for one in scores.values())])
    return ["", *_aligned(rows, underlined=(0,))]


def _over_cases(described: Mapping[str, Description]) -> list[str]:
    """The scores over cases with their intervals; nothing where there are too few cases."""
    if not any(one.n > 1 for one in described.values()):
        return []
    rows = [["over cases", "n", "mean [95 %]", "median [95 %]", "quartiles"]]
    for title, one in described.items():
        mean, median = (
            f"{_number(value)} [{_number(low)}, {_number(high)}]"
            for value, (low, high) in ((one.mean, one.mean_t), (one.median, one.median_order))
        )
        rows.append([title, str(one.n), mean, median, f"{_number(one.quartiles[0])} to {_number(one.quartiles[1])}"])
    return ["", *_aligned(rows, underlined=(0,))]


def _fitting(notes: Iterable[str]) -> Iterator[str]:
    """The notes as lines that fit a terminal."""
    for note in notes:
        yield from wrapped(note, indent="  ", first="")


def _heading(metric: MetricRecord) -> str:
    return f"{metric.title} ({metric.unit})" if metric.unit else metric.title


def _digits(metric: MetricRecord) -> int:
    return 2 if metric.unit else 3


def _mean_std(statistic: Statistic, digits: int = 3) -> str:
    if not math.isfinite(statistic.mean):
        return _number(statistic.mean)
    return f"{statistic.mean:.{digits}f} ± {statistic.std:.{digits}f}"


def _number(value: float, digits: int = 3) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _aligned(rows: Sequence[Sequence[str]], underlined: Sequence[int]) -> list[str]:
    """The first column to the left, the others to the right."""
    return table(rows, right=range(1, len(rows[0])), gap=_GAP, underlined=underlined)


def _class_notes(metrics: Metrics) -> list[str]:
    notes = ["Mean ± standard deviation over the cases.", *_missing_notes(metrics)]
    notes += [f"{metric.title}: {metric.description}" for metric in metrics.metrics.values()]
    if metrics.unit == "mixed":
        pixels = sum(case.unit == "px" for case in metrics.cases)
        notes.append(f"Lengths are in pixels in {counted(pixels, 'case')} whose files do not say how large voxels are.")
    if metrics.ignore_label is not None:
        notes.append(f"Voxels of the value {metrics.ignore_label} (ignore) in the reference are left out.")
    missing = _counted({name: summary.n_not_evaluable for name, summary in metrics.classes.items()})
    if missing:
        notes.append(f"{_both_empty(metrics)} neither reference nor prediction contains the class: {missing}.")
    return [*notes, *_left_out_notes(metrics.metrics, metrics.classes)]


def _both_empty(metrics: Metrics) -> str:
    """What becomes of a class that neither label map has."""
    protocol = None if metrics.protocol is None else metrics.protocol.name
    if protocol == "paper":
        return "Scored 1 in some cases, by the metrics of which 1 is perfect, because"
    published = ", but 1 as published" if protocol == "abdomen" else ""
    return f"Not scored in some cases{published}, because"


def _left_out_notes(metrics: Mapping[str, MetricRecord], classes: Mapping[str, Summary]) -> Iterator[str]:
    """Which scores of evaluable cases are not part of the means; metrics with the same counts share a line."""
    reasons = {
        "infinite in some cases, because only one of reference and prediction contains the class, and": _n_infinite,
        "not defined in some cases, because the reference or the prediction lacks the class, and": _n_undefined,
    }
    for reason, number in reasons.items():
        titles: dict[str, list[str]] = {}
        for key, metric in metrics.items():
            counts = _counted({name: number(summary, key) for name, summary in classes.items()})
            if counts:
                titles.setdefault(counts, []).append(metric.title)
        for counts, names in titles.items():
            yield f"{' and '.join(names)}: {reason} not part of the mean: {counts}."


def _n_infinite(summary: Summary, key: str) -> int:
    return summary.scores[key].n_infinite


def _n_undefined(summary: Summary, key: str) -> int:
    return max(summary.n_cases - summary.scores[key].n_finite - summary.scores[key].n_infinite, 0)


def _counted(numbers: Mapping[str, int]) -> str:
    """The names with a number above zero, as in "liver (2), cyst (1)"."""
    return few((f"{name} ({number})" for name, number in numbers.items() if number), most=20)


def _instance_notes(metrics: InstanceMetrics) -> list[str]:
    total = metrics.total
    false_positives = counted(total.FP, "false positive")
    notes = [
        "Mean ± standard deviation over the cases.",
        *_missing_notes(metrics),
        "A predicted object counts as found if its overlap (IoU) with a reference object is at least "
        f"{metrics.threshold:g}. {total.TP:,} found, {false_positives}, {total.FN:,} missed.",
        "DSC: overlap of all objects as one mask.",
        *(
            f"At an IoU of {entry.threshold:g}: F1 {_number(entry.F1.mean)}, AP {_number(entry.AP.mean)}, panoptic "
            f"quality {_number(entry.PQ.mean)}; of all objects together F1 {_number(entry.total.F1)}, AP "
            f"{_number(entry.total.AP)}, PQ {_number(entry.total.PQ)}."
            for entry in metrics.thresholds
        ),
    ]
    if metrics.border:
        notes.append(f"Objects that reach into the outermost {metrics.border} voxels of the image are left out of F1.")
    if metrics.n_not_evaluable:
        cases = counted(metrics.n_not_evaluable, "case")
        notes.append(f"Not scored, because neither reference nor prediction has an object: {cases}.")
    return notes


def _missing_notes(metrics: Metrics | InstanceMetrics) -> list[str]:
    missing, surplus, notes = metrics.missing, metrics.surplus, []
    if missing:
        consequence = "Scored as if nothing had been predicted" if metrics.missing_rule == "zero" else "Not scored"
        notes.append(f"{consequence}, because there is no prediction: {_few_cases(missing)}.")
    if surplus:
        notes.append(f"Left out, because there is no reference: {_few_cases(surplus)}.")
    return notes


def _few_cases(names: Sequence[str]) -> str:
    return f"{counted(len(names), 'case')} ({few(names)})"


def _worst(columns: Mapping[str, MetricRecord], cases: Mapping[str, Sequence[float]]) -> list[str]:
    """The cases whose first score is worst."""
    metrics = list(columns.values())
    scored = [(case, scores) for case, scores in cases.items() if not math.isnan(scores[0])]
    order = [metric.better for metric in metrics]
    worst = sorted(scored, key=lambda entry: (*map(_rank, entry[1], order), entry[0]))[:_WORST_CASES]
    if not worst:
        return []
    rows = [["worst cases", *map(_heading, metrics)]]
    rows += [[case, *map(_number, scores, map(_digits, metrics))] for case, scores in worst]
    return ["", *_aligned(rows, underlined=(0,))]


def _rank(score: float, better: Better) -> float:
    """A number that is smaller for worse scores; NaN comes last."""
    if math.isnan(score):
        return math.inf
    return {"higher": score, "lower": -score, "zero": -abs(score)}[better]
