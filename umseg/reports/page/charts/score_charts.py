"""Which charts a page has, and what they show."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from scipy.stats import spearmanr

from umseg.evaluation.risk_coverage import risk_coverage
from umseg.reports.page.charts import plots
from umseg.reports.page.report import Report
from umseg.reports.page.sources.scores import Column, Spread

_MOST_CLASSES = 24
"""Number of classes that charts show, those with the worst mean; tables have all."""


def score_charts(report: Report, wide: bool) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The charts of the left and of the right column; a table that is not wide stands above the left ones."""
    if not report.scored:
        return [], []
    columns = list({column.key: column for scores in report.scored for column in scores.columns}.values())
    by_class = [_distribution(report, column) for column in columns[:2]]
    by_size, by_confidence = list(_by_size(report, columns[0])), list(_by_confidence(report))
    return (by_class, by_size + by_confidence) if wide else (by_size, by_class + by_confidence)


def _distribution(report: Report, column: Column) -> dict[str, Any]:
    strips: list[plots.Strip] = []
    several = len(report.sources) > 1
    for name in _shown_classes(report, column):
        for number, source in enumerate(report.sources):
            if source.scores is not None and name in source.scores.classes and column in source.scores.columns:
                first = not strips or not strips[-1].name.startswith(f"{name}, ")
                full = f"{name}, {source.name}" if several else name
                values = source.scores.values(column.key, name)
                strips.append(plots.Strip(full, name if first else "", values, number))
    bounds = (0.0, 1.0) if column.better == "higher" and not column.title.endswith(")") else None
    return {
        "title": f"{column.title} by class",
        "svg": plots.distributions(column.title, strips, bounds),
        "caption": "A point is a case; the box spans the quartiles, the line is the median. "
        + _sentence(column.meaning),
        "legend": plots.legend([source.name for source in report.sources]) if several else "",
    }


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _shown_classes(report: Report, column: Column) -> list[str]:
    classes = list(dict.fromkeys(name for scores in report.scored for name in scores.classes))
    if len(classes) <= _MOST_CLASSES:
        return classes
    first = next(scores for scores in report.scored if column in scores.columns)
    means = {name: Spread.of(first.values(column.key, name).values()).mean for name in first.classes}
    sign = 1 if column.better == "higher" else -1
    worst = sorted((name for name in means if math.isfinite(means[name])), key=lambda name: (sign * means[name], name))
    kept = set(worst[:_MOST_CLASSES])
    return [name for name in classes if name in kept]


def _by_size(report: Report, column: Column) -> Iterator[dict[str, Any]]:
    """The score against the size of the class, or the number of objects, in the reference."""
    first = report.scored[0]
    classes = _shown_classes(report, column)
    dots = [
        plots.Dot(case.case, case.amount[name], case.of_class[name][column.key], group)
        for scores in report.scored
        for case in scores.cases
        for group, name in enumerate(classes)
        if name in case.of_class and column.key in case.of_class[name]
        if case.amount[name] > 0 and math.isfinite(case.of_class[name][column.key])
    ]
    if dots:
        title = f"{column.title} against {first.amount}"
        across = f"{first.amount} in the reference"
        ratio = column.better == "higher"
        yield {
            "title": title,
            "svg": plots.scatter(title, across, column.title, dots, classes, unit_y=ratio),
            "caption": "A point is a class in a case." if len(classes) > 1 else "A point is a case.",
            "legend": plots.legend(classes) if len(classes) > 1 else "",
        }


def _by_confidence(report: Report) -> Iterator[dict[str, Any]]:
    """The true score against the predicted quality, where both are known."""
    dots, errors, stated = [], [], []
    for number, source in enumerate(report.sources):
        if source.scores is None:
            continue
        key = source.scores.main.key
        for case, value in source.scores.values(key).items():
            confidence = source.confidence(case)
            if not math.isnan(confidence):
                dots.append(plots.Dot(case, confidence, value, number))
                stated.append(confidence)
                errors.append(1 - value)
    if dots:
        title = report.scored[0].main.title
        yield {
            "title": f"{title} against predicted quality",
            "svg": plots.scatter(
                f"{title} against predicted quality", "predicted quality", title, dots, [s.name for s in report.sources]
            ),
            "caption": "A point is a case. " + _ranking(stated, errors),
            "legend": plots.legend([source.name for source in report.sources]) if len(report.sources) > 1 else "",
        }


def _ranking(confidence: Sequence[float], errors: Sequence[float]) -> str:
    """How well the predicted quality tells good cases from bad ones."""
    found = risk_coverage(confidence, errors)
    area = (
        f"Area under the risk–coverage curve {found.area:.4f}, at random {found.random:.4f}, ideal {found.ideal:.4f}."
    )
    if len(set(confidence)) < 2 or len(set(errors)) < 2:
        return area
    rank = float(spearmanr(confidence, [-error for error in errors]).statistic)
    return f"Spearman's rank correlation: {rank:.2f}. {area}"
