"""What the page of a report holds: made from scores, pictures and trainings, shown by ``templates/report.html``."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from markupsafe import Markup

import umseg
from umseg.common.text import counted
from umseg.reports.page import charts
from umseg.reports.page.methods import methods
from umseg.reports.page.palette import CONFUSED, EXTRA, MISSED, on_images
from umseg.reports.page.pictures import CasePictures
from umseg.reports.page.ratings import GRADES
from umseg.reports.page.render import render, script_json
from umseg.reports.page.runs import Training
from umseg.reports.page.scores import MEAN, CaseScores, Column, Predicted, Scores, Spread, worst_first

_MOST_CLASSES = 24
"""Number of classes that charts show, those with the worst mean; tables have all."""


@dataclass(frozen=True)
class Source:
    """One set of predictions.

    Attributes:
        name: Short name, different for each source of a page.
        scores: Its scores; None without references.
        predicted: Case to what the prediction stated of itself.
        training: The training behind it; None where it is not known.
        facts: Names and values of what is known of its origin.
        cases: Names of all cases.
    """

    name: str
    scores: Scores | None
    predicted: Mapping[str, Predicted]
    training: Training | None
    facts: tuple[tuple[str, str], ...]
    cases: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """All that a page shows.

    Attributes:
        title: Heading of the page.
        sources: At least one.
        pictures: Case to pictures, of the cases that have some.
        legend: Names of the classes in the order of their colours.
        objects: Whether colours tell single objects apart instead of classes.
        plan: The data set and the plan in words.
        command: The command that made the page.
        notes: What the reader should know, e.g. that images were not found.
    """

    title: str
    sources: tuple[Source, ...]
    pictures: Mapping[str, CasePictures] = field(default_factory=dict)
    legend: tuple[str, ...] = ()
    objects: bool = False
    plan: str = ""
    command: str = ""
    notes: tuple[str, ...] = ()

    def with_pictures(self, pictures: Mapping[str, CasePictures], notes: tuple[str, ...]) -> Report:
        """The same report with pictures."""
        return replace(self, pictures=pictures, notes=notes)

    @property
    def scored(self) -> list[Scores]:
        """The scores of the sources that have some."""
        return [source.scores for source in self.sources if source.scores is not None]

    @property
    def order(self) -> list[str]:
        """All cases: the worst scores first, or without scores the least confident first."""
        known = worst_first(self.scored)
        others = {case for source in self.sources for case in source.cases} - set(known)
        return [*known, *sorted(others, key=lambda case: (self._confidence(case), case))]

    def _confidence(self, case: str) -> float:
        """The lowest confidence of a case; those that state none come last."""
        stated = (source.predicted[case].confidence for source in self.sources if case in source.predicted)
        return min((value for value in stated if value is not None), default=math.inf)


def report_page(report: Report) -> str:
    """The page as one HTML file; the same for the same contents."""
    order = report.order
    volumes = {case: dict(shown.volumes) for case, shown in report.pictures.items() if shown.volumes}
    text = methods(
        [(s.name, s.training, s.scores, _has_confidence(s)) for s in report.sources], umseg.__version__
    )
    summary = _summary(report)
    left, right = _charts(report, summary["wide"])
    context = {
        "title": report.title,
        "version": umseg.__version__,
        "subtitle": _subtitle(report, order),
        "report": report,
        "figures": list(_key_figures(report)),
        "summary": summary,
        "left": left,
        "right": right,
        "cards": [_card(report, case) for case in order],
        "table": _case_table(report, order),
        "trainings": list(_trainings(report)),
        "methods": text,
        "grades": GRADES,
        "errors": [("missed", MISSED), ("extra", EXTRA)] + ([] if report.objects else [("wrong class", CONFUSED)]),
        "colours": on_images(max(len(report.legend), 1)),
        "volumes": volumes,
        "data": _data(report, order),
    }
    return render("report.html", context, viewer=bool(volumes))


def _has_confidence(source: Source) -> bool:
    return any(stated.confidence is not None for stated in source.predicted.values())


def _subtitle(report: Report, order: Sequence[str]) -> str:
    kinds = [counted(len(order), "case")]
    if len(report.sources) > 1:
        kinds.append(f"{len(report.sources)} sets of predictions")
    if not report.scored:
        kinds.append("predictions without references, the least certain first")
    return ", ".join(kinds)


def _key_figures(report: Report) -> Iterator[dict[str, str]]:
    """The numbers at the top, of a single source: its first three metrics."""
    for source in report.sources if len(report.sources) == 1 else ():
        for column in () if source.scores is None else source.scores.columns[:3]:
            mean = _class_mean(source.scores, column)
            spread = Spread.of(source.scores.values(column.key).values())
            interval = "" if spread.interval is None else "95 % CI {} to {}".format(
                *(_text(end, column.digits) for end in spread.interval)
            )
            yield {
                "name": column.title,
                "value": _text(mean, column.digits),
                "note": interval,
                "meaning": column.meaning,
            }


def _class_mean(scores: Scores, column: Column) -> float:
    """The mean of the class means, as ``umseg evaluate`` states it."""
    means = [Spread.of(scores.values(column.key, name).values()).mean for name in scores.classes]
    finite = [value for value in means if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan


def _summary(report: Report) -> dict[str, Any]:
    """The table by class: one row per class and source."""
    columns = list({column.key: column for scores in report.scored for column in scores.columns}.values())
    rows = []
    classes = list(dict.fromkeys(name for scores in report.scored for name in scores.classes))
    for name in [*classes, *([MEAN] if len(classes) > 1 else [])]:
        entries = [(s, s.scores) for s in report.sources if s.scores is not None and (name == MEAN or name in s.scores.classes)]
        spreads = [_spreads(scores, columns, name) for _, scores in entries]
        best = _best(spreads, columns) if len(entries) > 1 else {}
        for place, (source, _) in enumerate(entries):
            cells = [
                _cell(spreads[place][column.key], column, place in best.get(column.key, ())) for column in columns
            ]
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
        ranks = [
            sign * (abs(s[column.key].mean) if column.better == "zero" else s[column.key].mean) for s in spreads
        ]
        finite = [rank for rank in ranks if math.isfinite(rank)]
        found[column.key] = {place for place, rank in enumerate(ranks) if finite and rank == max(finite)}
    return found


def _cell(spread: Spread, column: Column, best: bool) -> dict[str, Any]:
    digits = column.digits
    if not spread.count:
        return {"mean": "–", "more": "", "count": 0, "best": False}
    low, median, high = (_text(value, digits) for value in spread.quartiles)
    return {
        "mean": f"{_text(spread.mean, digits)} ± {_text(spread.deviation, digits)}",
        "more": f"{median} [{low}, {high}]",
        "count": spread.count,
        "best": best,
    }


def _charts(report: Report, wide: bool) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The charts of the left and of the right column; a table that is not wide stands above the left ones."""
    if not report.scored:
        return [], []
    columns = list({column.key: column for scores in report.scored for column in scores.columns}.values())
    by_class = [_distribution(report, column) for column in columns[:2]]
    by_size, by_confidence = list(_by_size(report, columns[0])), list(_by_confidence(report))
    return (by_class, by_size + by_confidence) if wide else (by_size, by_class + by_confidence)


def _distribution(report: Report, column: Column) -> dict[str, Any]:
    strips = []
    several = len(report.sources) > 1
    for name in _shown_classes(report, column):
        for number, source in enumerate(report.sources):
            if source.scores is not None and name in source.scores.classes and column in source.scores.columns:
                first = not strips or not strips[-1].name.startswith(f"{name}, ")
                full = f"{name}, {source.name}" if several else name
                values = source.scores.values(column.key, name)
                strips.append(charts.Strip(full, name if first else "", values, number))
    bounds = (0.0, 1.0) if column.better == "higher" and not column.title.endswith(")") else None
    return {
        "title": f"{column.title} by class",
        "svg": charts.distributions(column.title, strips, bounds),
        "caption": "A point is a case; the box spans the quartiles, the line is the median. " + _sentence(column.meaning),
        "legend": charts.legend([source.name for source in report.sources]) if several else "",
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
        charts.Dot(case.case, case.amount[name], case.of_class[name][column.key], group)
        for scores in report.scored
        for case in scores.cases
        for group, name in enumerate(classes)
        if name in case.of_class and column.key in case.of_class[name]
        if case.amount[name] > 0 and math.isfinite(case.of_class[name][column.key])
    ]
    if dots:
        yield {
            "title": f"{column.title} against {first.amount}",
            "svg": charts.scatter(
                f"{column.title} against {first.amount}", f"{first.amount} in the reference", column.title, dots, classes,
                unit_y=column.better == "higher",
            ),
            "caption": "A point is a class in a case." if len(classes) > 1 else "A point is a case.",
            "legend": charts.legend(classes) if len(classes) > 1 else "",
        }  # fmt: skip


def _by_confidence(report: Report) -> Iterator[dict[str, Any]]:
    """The true score against the predicted quality, where both are known."""
    dots, errors, stated = [], [], []
    for number, source in enumerate(report.sources):
        if source.scores is None:
            continue
        key = source.scores.main.key
        for case, value in source.scores.values(key).items():
            confidence = source.predicted.get(case, Predicted()).confidence
            if confidence is not None:
                dots.append(charts.Dot(case, confidence, value, number))
                stated.append(confidence)
                errors.append(1 - value)
    if dots:
        title = report.scored[0].main.title
        yield {
            "title": f"{title} against predicted quality",
            "svg": charts.scatter(
                f"{title} against predicted quality", "predicted quality", title, dots, [s.name for s in report.sources]
            ),
            "caption": "A point is a case. " + _ranking(stated, errors),
            "legend": charts.legend([source.name for source in report.sources]) if len(report.sources) > 1 else "",
        }


def _ranking(confidence: Sequence[float], errors: Sequence[float]) -> str:
    """How well the predicted quality tells good cases from bad ones."""
    from scipy.stats import spearmanr

    from umseg.evaluation.risk_coverage import risk_coverage

    found = risk_coverage(confidence, errors)
    area = (
        f"Area under the risk–coverage curve: {found.area:.4f} (random order {found.random:.4f}, ideal {found.ideal:.4f})."
    )
    if len(set(confidence)) < 2 or len(set(errors)) < 2:
        return area
    rank = float(spearmanr(confidence, [-error for error in errors]).statistic)
    return f"Spearman's rank correlation: {rank:.2f}. {area}"


def _card(report: Report, case: str) -> dict[str, Any]:
    """A case with its pictures, and its scores in every source."""
    shown = report.pictures.get(case, CasePictures())
    entries, notes = [], [shown.note] if shown.note else []
    for number, source in enumerate(report.sources):
        scores = _case_scores(source, case)
        main = None if source.scores is None or scores is None else scores.mean[source.scores.main.key]
        confidence = source.predicted.get(case, Predicted()).confidence
        entries.append(
            {
                "number": number,
                "source": source.name,
                "title": "" if source.scores is None else source.scores.main.title,
                "score": None if main is None else _text(main, 3),
                "confidence": None if confidence is None else _text(confidence, 3),
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


def _case_scores(source: Source, case: str) -> CaseScores | None:
    if source.scores is None:
        return None
    return next((entry for entry in source.scores.cases if entry.case == case), None)


def _classes_of(source: Source, case: str) -> dict[str, Any]:
    """The scores of a case by class, and what the prediction says of its classes."""
    scores, stated = _case_scores(source, case), source.predicted.get(case, Predicted())
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
        cells = [] if scores is None else [_text(scores.of_class[name][c.key], c.digits) for c in columns]
        if scores is not None:
            cells += [_amount(scores.amount[name]), _amount(scores.predicted[name])]
        else:
            cells += [_amount(stated.volumes[name]), str(stated.pieces.get(name, "–"))]
        cells += [_text(stated.of_class.get(name, math.nan), 3)] if stated.of_class else []
        rows.append((name, cells))
    return {"heads": heads, "rows": rows}


def _case_table(report: Report, order: Sequence[str]) -> dict[str, Any]:
    """One row per case: the metrics of every source side by side, as the mean over classes."""
    groups = []
    for number, source in enumerate(report.sources):
        columns = [] if source.scores is None else list(source.scores.columns)
        heads = [{"key": column.key, "title": column.title, "better": column.better} for column in columns]
        if _has_confidence(source):
            heads.append({"key": "confidence", "title": "predicted quality", "better": "higher"})
        groups.append({"number": number, "name": source.name, "heads": heads})
    rows = [
        {"case": case, "cells": [cell for source in report.sources for cell in _row(source, case)]} for case in order
    ]
    return {"groups": groups, "rows": rows}


def _row(source: Source, case: str) -> Iterator[dict[str, Any]]:
    scores = _case_scores(source, case)
    for column in () if source.scores is None else source.scores.columns:
        value = math.nan if scores is None else scores.mean[column.key]
        yield {"value": _plain(value), "text": _text(value, column.digits)}
    if _has_confidence(source):
        value = source.predicted.get(case, Predicted()).confidence
        yield {"value": "" if value is None else f"{value:.9g}", "text": "–" if value is None else _text(value, 3)}


def _trainings(report: Report) -> Iterator[dict[str, Any]]:
    """The curves and facts of every fold."""
    for source in report.sources:
        if source.training is None:
            continue
        for run in source.training.runs:
            shown = []
            if run.epochs:
                classes = list(run.epochs[0].dice)[:8]
                losses = [
                    charts.Curve("training", [row.train_loss for row in run.epochs]),
                    charts.Curve("validation", [row.validation_loss for row in run.epochs]),
                ]
                dice = [charts.Curve(name, [row.dice.get(name) for row in run.epochs]) for name in classes]
                dice.append(charts.Curve("moving average of the mean", [row.ema_dice for row in run.epochs]))
                for title, lines, unit in (("loss", losses, False), ("Dice of validation patches", dice, True)):
                    shown.append(
                        {"svg": charts.curves(title, lines, unit=unit), "legend": charts.line_legend([c.name for c in lines])}
                    )
            yield {"name": f"{source.name}, fold {run.fold}", "charts": shown, "command": run.command, "software": run.software}


def _data(report: Report, order: Sequence[str]) -> dict[str, Any]:
    """What the script of the page works with."""
    scores = [
        {
            case.case: {
                name: {key: value for key, value in entry.items() if math.isfinite(value)}
                for name, entry in {**case.of_class, "": case.mean}.items()
            }
            for case in (source.scores.cases if source.scores is not None else ())
        }
        for source in report.sources
    ]
    digits = {c.key: c.digits for s in report.scored for c in s.columns}
    content = {
        "title": report.title,
        "sources": [source.name for source in report.sources],
        "classes": list(dict.fromkeys(name for s in report.scored for name in s.classes)),
        "colours": on_images(120 if report.objects else max(len(report.legend), 1)),
        "legend": report.legend,
        "objects": report.objects,
        "scores": scores,
        "digits": digits,
        "order": list(order),
    }
    digest = hashlib.blake2b(script_json(content).encode(), digest_size=16).hexdigest()
    return {**content, "page": digest}


def _text(value: float, digits: int) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:.{digits}f}" if math.isfinite(value) else "∞"


def _plain(value: float) -> str:
    return "" if math.isnan(value) else "Infinity" if math.isinf(value) else f"{value:.9g}"


def _amount(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:,.0f}" if value >= 100 or value.is_integer() else f"{value:.3g}"
