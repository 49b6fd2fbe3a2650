"""What the page of a report holds: made from scores, pictures and trainings, shown by ``templates/report.html``."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import umseg
from umseg.common.text import counted
from umseg.reports.page.cards import case_card, case_table
from umseg.reports.page.charts import plots
from umseg.reports.page.charts.score_charts import score_charts
from umseg.reports.page.methods import methods
from umseg.reports.page.palette import CONFUSED, EXTRA, MISSED, on_images
from umseg.reports.page.render import render, script_json
from umseg.reports.page.report import Report
from umseg.reports.page.sources.ratings import GRADES
from umseg.reports.page.summary import key_figures, summary_table

_MOST_CARDS = 500
"""Cases that have a card without having a picture."""


def report_page(report: Report) -> str:
    """The page as one HTML file; the same for the same contents."""
    order = report.order
    volumes = {case: dict(shown.volumes) for case, shown in report.pictures.items() if shown.volumes}
    text = methods([(s.name, s.training, s.scores, s.has_confidence) for s in report.sources], umseg.__version__)
    summary = summary_table(report)
    left, right = score_charts(report, summary["wide"])
    context = {
        "title": report.title,
        "version": umseg.__version__,
        "subtitle": _subtitle(report, order),
        "report": report,
        "figures": list(key_figures(report)),
        "summary": summary,
        "left": left,
        "right": right,
        "cards": [case_card(report, case) for case in _with_cards(report, order)],
        "table": case_table(report, order),
        "trainings": list(_trainings(report)),
        "methods": text,
        "grades": GRADES,
        "errors": [("missed", MISSED), ("extra", EXTRA)] + ([] if report.objects else [("wrong class", CONFUSED)]),
        "colours": on_images(max(len(report.legend), 1)),
        "volumes": volumes,
        "data": _data(report, order),
    }
    return render("report.html", context, ("table.js", "page.js"), viewer=bool(volumes))


def _with_cards(report: Report, order: Sequence[str]) -> list[str]:
    """The cases that have pictures, and the first of the others; in very large reports the table alone has all."""
    return [case for place, case in enumerate(order) if case in report.pictures or place < _MOST_CARDS]


def _subtitle(report: Report, order: Sequence[str]) -> str:
    kinds = [counted(len(order), "case")]
    if len(report.sources) > 1:
        kinds.append(f"{len(report.sources)} sets of predictions")
    if not report.scored:
        kinds.append("predictions without references, the least certain first")
    return ", ".join(kinds)


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
                    plots.Curve("training", [row.train_loss for row in run.epochs]),
                    plots.Curve("validation", [row.validation_loss for row in run.epochs]),
                ]
                dice = [plots.Curve(name, [row.dice.get(name) for row in run.epochs]) for name in classes]
                dice.append(plots.Curve("moving average of the mean", [row.ema_dice for row in run.epochs]))
                for title, lines, unit in (("loss", losses, False), ("Dice of validation patches", dice, True)):
                    shown.append(
                        {
                            "svg": plots.curves(title, lines, unit=unit),
                            "legend": plots.line_legend([c.name for c in lines]),
                        }
                    )
            yield {
                "name": f"{source.name}, fold {run.fold}",
                "charts": shown,
                "command": run.command,
                "software": run.software,
            }


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
    digest = hashlib.blake2b(script_json(content).encode("utf-8", "replace"), digest_size=16).hexdigest()
    return {**content, "page": digest}
