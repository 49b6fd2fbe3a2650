"""The numbers at the top of a page, and its table of the scores by class."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from umseg.reports.page.numbers import NONE, score_text
from umseg.reports.page.report import Report
from umseg.reports.page.sources.scores import MEAN, Column, Scores, Spread


def key_figures(report: Report) -> Iterator[dict[str, str]]:
    """The numbers at the top, of a single source: its first three metrics."""
    scores = report.sources[0].scores
    if len(report.sources) > 1 or scores is None:
        return
    for column in scores.columns[:3]:
        interval = Spread.of(scores.values(column.key).values()).interval
        ends = [score_text(end, column.digits) for end in interval or ()]
        yield {
            "name": column.title,
            "value": score_text(_class_mean(scores, column), column.digits),
            "note": f"95 % CI {' to '.join(ends)}" if ends else "",
        }


def _class_mean(scores: Scores, column: Column) -> float:
    """The mean of the class means, as ``umseg evaluate`` states it."""
    means = [Spread.of(scores.values(column.key, name).values()).mean for name in scores.classes]
    finite = [value for value in means if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan


def summary_table(report: Report) -> dict[str, Any]:
    """The table by class: one row per class and source."""
    columns = list({column.key: column for scores in report.scored for column in scores.columns}.values())
    rows = []
    classes = list(dict.fromkeys(name for scores in report.scored for name in scores.classes))
    for name in [*classes, *([MEAN] if len(classes) > 1 else [])]:
        entries = [
            (s, s.scores) for s in report.sources if s.scores is not None and (name == MEAN or name in s.scores.classes)
        ]
        spreads = [_spreads(scores, columns, name) for _, scores in entries]
        best = _best(spreads, columns) if len(entries) > 1 else {}
        for place, (source, _) in enumerate(entries):
            cells = [_cell(spreads[place][column.key], column, place in best.get(column.key, ())) for column in columns]
            rows.append({"name": name, "source": source.name, "cells": cells, "span": 0 if place else len(entries)})
    several = len(report.sources) > 1
    return {"columns": columns, "rows": rows, "several": several, "wide": several or len(columns) > 3}


def _spreads(scores: Scores, columns: Sequence[Column], name: str) -> dict[str, Spread]:
    known = {column.key for column in scores.columns}
    return {
        column.key: Spread.of(scores.values(column.key, None if name == MEAN else name).values())
        if column.key in known
        else Spread.of([])
        for column in columns
    }


def _best(spreads: Sequence[Mapping[str, Spread]], columns: Sequence[Column]) -> dict[str, set[int]]:
    """The places of the best means, by metric; several where they are equal."""
    found: dict[str, set[int]] = {}
    for column in columns:
        sign = {"higher": 1, "lower": -1, "zero": -1}[column.better]
        ranks = [sign * (abs(s[column.key].mean) if column.better == "zero" else s[column.key].mean) for s in spreads]
        finite = [rank for rank in ranks if math.isfinite(rank)]
        found[column.key] = {place for place, rank in enumerate(ranks) if finite and rank == max(finite)}
    return found


def _cell(spread: Spread, column: Column, best: bool) -> dict[str, Any]:
    digits = column.digits
    if not spread.count:
        return {"mean": NONE, "more": "", "count": 0, "best": False}
    low, median, high = (score_text(value, digits) for value in spread.quartiles)
    return {
        "mean": f"{score_text(spread.mean, digits)} ± {score_text(spread.deviation, digits)}",
        "more": f"{median} [{low}, {high}]",
        "count": spread.count,
        "best": best,
    }
