"""Reading the ``metrics.json`` that earlier versions wrote (schema 1), which had two metrics as fixed fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from umseg.evaluation.metrics.metric import Metric
from umseg.evaluation.metrics.overlap import DSC
from umseg.evaluation.metrics.surface import NSD

_METRICS: Mapping[str, Metric] = {"Dice": DSC, "NSD": NSD}


def from_schema_1(content: Mapping[str, Any]) -> Any:
    """The parsed JSON of a file in schema 1 as that of schema 2.

    Cases of the first versions do not state their unit: they have that of the whole file (mm where there is none).
    A document that does not fit schema 1 is returned unchanged, so that its fields are checked and reported as usual.
    """
    try:
        return _converted(content)
    except (KeyError, TypeError, AttributeError):
        return content


def _converted(content: Mapping[str, Any]) -> dict[str, Any]:
    unit = content.get("unit", "mm")
    cases = [
        {
            **_with_scores(case),
            "unit": case.get("unit", unit),
            "classes": {name: _with_scores(scores) for name, scores in case["classes"].items()},
        }
        for case in content["cases"]
    ]
    classes = {
        name: _summary(summary, [case["classes"][name]["scores"] for case in cases])
        for name, summary in content["classes"].items()
    }
    all_scores = [scores["scores"] for case in cases for scores in case["classes"].values()]
    return {
        **content,
        "schema_version": 2,
        "metrics": {
            metric.key: {
                "title": metric.title,
                "description": metric.description,
                "unit": metric.unit,
                "better": metric.better,
            }
            for metric in _METRICS.values()
        },
        "unit": unit,
        "cases": cases,
        "classes": classes,
        "foreground_mean": _summary(content["foreground_mean"], all_scores),
    }


def _with_scores(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record whose fixed fields have become ``scores``."""
    rest = {field: value for field, value in record.items() if field not in _METRICS}
    return {**rest, "scores": {metric.key: record[field] for field, metric in _METRICS.items()}}


def _summary(summary: Mapping[str, Any], scores: Sequence[Mapping[str, float | None]]) -> dict[str, Any]:
    changed = _with_scores(summary)
    for key, statistic in changed["scores"].items():
        n_finite = sum(entry[key] is not None for entry in scores)
        changed["scores"][key] = {**statistic, "n_finite": n_finite, "n_infinite": 0}
    return changed
