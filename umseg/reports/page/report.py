"""The contents of a page of ``umseg report``, and the order of its cases."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from umseg.reports.page.pictures.planes import CasePictures
from umseg.reports.page.sources.runs import Training
from umseg.reports.page.sources.scores import CaseScores, Predicted, Scores, worst_first


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

    @property
    def has_confidence(self) -> bool:
        """Whether a case states a predicted quality."""
        return any(stated.confidence is not None for stated in self.predicted.values())

    def confidence(self, case: str) -> float:
        """The predicted quality of a case; NaN where it states none."""
        stated = self.predicted.get(case, Predicted()).confidence
        return math.nan if stated is None else stated

    def of_case(self, case: str) -> CaseScores | None:
        """The scores of a case; None where it has none."""
        return None if self.scores is None else self.scores.by_name.get(case)


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
        return [*known, *sorted(others, key=lambda case: (self._least_confidence(case), case))]

    def _least_confidence(self, case: str) -> float:
        """The lowest predicted quality of a case; those that state none come last."""
        stated = (source.confidence(case) for source in self.sources)
        return min((value for value in stated if not math.isnan(value)), default=math.inf)
