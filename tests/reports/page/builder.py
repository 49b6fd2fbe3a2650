"""A report for tests, made of given scores, and the elements of its page."""

from __future__ import annotations

from collections.abc import Sequence
from html.parser import HTMLParser
from typing import Any

import numpy as np

from tests.evaluation.factories import make_metrics
from umseg.reports.page.pictures.planes import CasePictures, Maps, draw_planes
from umseg.reports.page.report import Report, Source
from umseg.reports.page.sources.scores import Predicted, pooled_scores

SCORES = {
    "good": [(0.95, 0.99), (0.9, 0.98)],
    "bad": [(0.3, 0.5), (0.4, 0.45)],
    "fair": [(0.7, 0.8), (0.75, 0.85)],
}


def make_source(name: str = "model", scores: dict[str, list[tuple[float, float]]] | None = None) -> Source:
    """A source with these scores, and a confidence for every case."""
    given = SCORES if scores is None else scores
    predicted = {case: Predicted(0.5 + place / 10, {"1": 0.6}) for place, case in enumerate(sorted(given))}
    pooled = pooled_scores([make_metrics(given)])
    return Source(name, pooled, predicted, None, (("network", name),), tuple(sorted(given)))


def make_maps() -> Maps:
    """A volume with two classes, of which the prediction misses a part of one."""
    image = np.arange(8 * 20 * 24, dtype=np.float32).reshape(1, 8, 20, 24)
    reference = np.zeros((8, 20, 24), np.int8)
    reference[2:6, 4:12, 4:10], reference[2:6, 4:12, 14:20] = 1, 2
    prediction = reference.copy()
    prediction[:, 4:6] = 0
    return Maps(image, reference, (prediction,), (2.0, 1.0, 1.0), "SAR", None)


def make_report(*sources: Source, **fields: Any) -> Report:
    """A report with pictures of its first case."""
    report = Report("A title", sources or (make_source(),), legend=("1", "2"), **fields)
    maps = make_maps()
    maps = Maps(maps.image, maps.reference, maps.predictions * len(report.sources), maps.spacing, "SAR", None)
    return report.with_pictures({report.order[0]: CasePictures(draw_planes(maps, 10**6))}, ())


class Elements(HTMLParser):
    """The elements of a page with their attributes, and the texts of scripts, styles and everything else."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, list[str]] = {"script": [], "style": [], "": []}
        self._inside = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))
        if tag in ("script", "style"):
            self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data: str) -> None:
        self.texts[self._inside].append(data)

    def of(self, tag: str, **attributes: str) -> list[dict[str, str]]:
        """The attributes of all elements of a kind that have these; ``_`` in a name stands for ``-``."""
        wanted = {name.strip("_").replace("_", "-"): value for name, value in attributes.items()}
        return [have for name, have in self.found if name == tag and wanted.items() <= have.items()]

    @property
    def text(self) -> str:
        """What a reader sees."""
        return " ".join(" ".join(self.texts[""]).split())


def outside(elements: Elements) -> Sequence[str]:
    """What the page would load from elsewhere."""
    places = [value for _, have in elements.found for name, value in have.items() if name in ("src", "href", "srcset")]
    return [place for place in places if not place.startswith(("data:", "#"))]
