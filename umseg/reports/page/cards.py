"""The cases of a page: a card with pictures and scores for each, and a table of all."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from umseg.reports.page.numbers import NONE, amount_text, plain_number, score_text
from umseg.reports.page.pictures.planes import CasePictures
from umseg.reports.page.report import Report, Source
from umseg.reports.page.sources.scores import Predicted


def case_card(report: Report, case: str) -> dict[str, Any]:
    """A case with its pictures, and its scores in every source."""
    shown = report.pictures.get(case, CasePictures())
    entries, notes = [], [shown.note] if shown.note else []
    for number, source in enumerate(report.sources):
        scores = source.of_case(case)
        main = None if source.scores is None or scores is None else scores.mean[source.scores.main.key]
        confidence = source.confidence(case)
        entries.append(
            {
                "number": number,
                "source": source.name,
                "title": "" if source.scores is None else source.scores.main.title,
                "score": None if main is None else score_text(main, 3),
                "confidence": None if math.isnan(confidence) else score_text(confidence, 3),
                "table": _classes_of(source, case),
            }
        )
        notes += scores.notes if scores is not None else ()
        cut = source.predicted.get(case, Predicted()).cut
        notes += [f"At the border of the image: {', '.join(cut)}."] if cut and source.scores is None else []
    layers = [layer for plane in shown.planes[:1] for layer in plane.layers if layer != "image"]
    return {
        "case": case,
        "entries": entries,
        "planes": shown.planes,
        "layers": layers,
        "volume": bool(shown.volumes),
        "notes": list(dict.fromkeys(notes)),
    }


def _classes_of(source: Source, case: str) -> dict[str, Any]:
    """The scores of a case by class, and what the prediction says of its classes."""
    scores, stated = source.of_case(case), source.predicted.get(case, Predicted())
    columns = [] if source.scores is None or scores is None else list(source.scores.columns)
    classes = list(scores.of_class) if scores is not None else list(stated.volumes)
    heads = [column.title for column in columns]
    amount = "" if source.scores is None else source.scores.amount
    if scores is not None:
        heads += [f"{amount}, reference", f"{amount}, prediction"]
    elif classes:
        heads += ["volume", "pieces"]
    heads += ["predicted quality"] if stated.of_class else []
    rows = []
    for name in classes:
        cells = [] if scores is None else [score_text(scores.of_class[name][c.key], c.digits) for c in columns]
        if scores is not None:
            cells += [amount_text(scores.amount[name]), amount_text(scores.predicted[name])]
        else:
            cells += [amount_text(stated.volumes[name]), str(stated.pieces.get(name, NONE))]
        cells += [score_text(stated.of_class.get(name, math.nan), 3)] if stated.of_class else []
        rows.append((name, cells))
    return {"heads": heads, "rows": rows}


def case_table(report: Report, order: Sequence[str]) -> dict[str, Any]:
    """One row per case: the metrics of every source side by side, as the mean over classes."""
    groups = []
    for number, source in enumerate(report.sources):
        columns = [] if source.scores is None else list(source.scores.columns)
        heads = [{"key": column.key, "title": column.title, "better": column.better} for column in columns]
        if source.has_confidence:
            heads.append({"key": "confidence", "title": "predicted quality", "better": "higher"})
        groups.append({"number": number, "name": source.name, "heads": heads})
    rows = [
        {"case": case, "cells": [cell for source in report.sources for cell in _row(source, case)]} for case in order
    ]
    return {"groups": groups, "rows": rows}


def _row(source: Source, case: str) -> Iterator[dict[str, Any]]:
    scores = source.of_case(case)
    for column in () if source.scores is None else source.scores.columns:
        value = math.nan if scores is None else scores.mean[column.key]
        yield {"value": plain_number(value), "text": score_text(value, column.digits)}
    if source.has_confidence:
        value = source.confidence(case)
        yield {"value": plain_number(value), "text": score_text(value, 3)}
