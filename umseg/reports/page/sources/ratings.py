"""Ratings that reviewers save from a page (``ratings.json``), and how far several reviewers agree.

Sources of the formulas: Cohen, Psychological Bulletin 1968, doi:10.1037/h0026256 (weighted kappa of two reviewers);
Fleiss, Psychological Bulletin 1971, doi:10.1037/h0031619 (kappa of any number of reviewers, without weights).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from umseg.common.record import Record
from umseg.common.text import counted, table

GRADES = {
    1: "unusable",
    2: "usable after large corrections",
    3: "usable after small corrections",
    4: "usable as it is",
}
REMEDY = "Save the ratings again from the page that `umseg report` wrote."

Item = tuple[str, str]
"""A case, and the source of its prediction."""


class Rating(Record):
    """What a reviewer says of one prediction.

    Attributes:
        case: Name of the case.
        source: Name of the source of the prediction.
        rating: 1 to 4 (``GRADES``); None where there is a note alone.
        note: The reviewer's note.
    """

    case: Annotated[str, Field(max_length=1000)]
    source: Annotated[str, Field(max_length=1000)]
    rating: Annotated[int, Field(ge=1, le=4)] | None = None
    note: Annotated[str, Field(max_length=100_000)] = ""


class Ratings(Record):
    """``ratings.json``: all ratings of one reviewer.

    Attributes:
        page: Digest of the page that was rated.
        title: Its title.
        reviewer: Name that the reviewer gave.
        ratings: The ratings.
    """

    schema_version: Literal[1] = 1
    page: Annotated[str, Field(max_length=100)]
    title: Annotated[str, Field(max_length=1000)] = ""
    reviewer: Annotated[str, Field(max_length=1000)] = ""
    ratings: tuple[Rating, ...]

    @property
    def grades(self) -> dict[Item, int]:
        """The grade of every prediction that has one."""
        return {(entry.case, entry.source): entry.rating for entry in self.ratings if entry.rating is not None}


@dataclass(frozen=True)
class Agreement:
    """How far reviewers agree on the predictions that all of them rated.

    Attributes:
        items: Number of these predictions.
        same: Fraction of them that all reviewers gave the same grade.
        near: Fraction of them whose grades differ by at most one.
        weighted: Mean over all pairs of reviewers of Cohen's kappa with quadratic weights; NaN where it is undefined.
        fleiss: Fleiss' kappa; NaN where it is undefined.
    """

    items: int
    same: float
    near: float
    weighted: float
    fleiss: float


def weighted_kappa(first: Sequence[int], second: Sequence[int], grades: int = len(GRADES)) -> float:
    """Cohen's kappa of two reviewers with quadratic weights: 1 agreement, 0 that of chance (Cohen 1968, eq. 7).

    Args:
        first: Grades from 1 by the first reviewer.
        second: Grades of the same items by the second.
        grades: Number of grades.

    Returns:
        NaN where both give one and the same grade to everything, so that chance alone agrees.
    """
    observed = np.zeros((grades, grades))
    np.add.at(observed, (np.asarray(first) - 1, np.asarray(second) - 1), 1)
    expected = np.outer(observed.sum(axis=1), observed.sum(axis=0)) / max(observed.sum(), 1)
    steps = np.arange(grades)
    weights = (steps[:, None] - steps) ** 2
    by_chance = float((weights * expected).sum())
    return 1 - float((weights * observed).sum()) / by_chance if by_chance else math.nan


def fleiss_kappa(counts: NDArray[np.int64]) -> float:
    """Fleiss' kappa: 1 agreement, 0 that of chance (Fleiss 1971, eq. 7).

    Args:
        counts: How many reviewers gave every grade to every item, (items, grades); equally many for all items, and at
            least two.

    Returns:
        NaN where all grades are the same.
    """
    reviewers = int(counts[0].sum())
    by_item = ((counts**2).sum(axis=1) - reviewers) / (reviewers * (reviewers - 1))
    chance = float(((counts.sum(axis=0) / counts.sum()) ** 2).sum())
    return (float(by_item.mean()) - chance) / (1 - chance) if chance < 1 else math.nan


def agreement(reviewers: Sequence[Mapping[Item, int]]) -> Agreement:
    """The agreement of at least two reviewers, over the predictions that all of them rated."""
    common = sorted(set.intersection(*(set(grades) for grades in reviewers)))
    if not common:
        return Agreement(0, math.nan, math.nan, math.nan, math.nan)
    given = np.array([[grades[item] for item in common] for grades in reviewers])
    distance = given.max(axis=0) - given.min(axis=0)
    pairs = [
        weighted_kappa(given[a].tolist(), given[b].tolist()) for a, b in itertools.combinations(range(len(given)), 2)
    ]
    defined = [value for value in pairs if math.isfinite(value)]
    counts = np.stack([(given == grade).sum(axis=0) for grade in GRADES], axis=1)
    return Agreement(
        items=len(common),
        same=float((distance == 0).mean()),
        near=float((distance <= 1).mean()),
        weighted=float(np.mean(defined)) if defined else math.nan,
        fleiss=fleiss_kappa(counts),
    )


def merged_rows(reviews: Sequence[Ratings], names: Sequence[str]) -> list[list[object]]:
    """A table of all ratings: one row per prediction; a grade and a note per reviewer, the header first."""
    entries = [{(entry.case, entry.source): entry for entry in review.ratings} for review in reviews]
    items = sorted({item for found in entries for item in found})
    header: list[object] = ["case", "source", *(f"rating of {name}" for name in names), "mean"]
    rows = [[*header, *(f"note of {name}" for name in names)]]
    for item in items:
        found = [entry.get(item) for entry in entries]
        grades = [None if entry is None else entry.rating for entry in found]
        given = [grade for grade in grades if grade is not None]
        mean = f"{sum(given) / len(given):.2f}" if given else None
        rows.append([*item, *grades, mean, *("" if entry is None else entry.note for entry in found)])
    return rows


def reviewer_names(reviews: Sequence[Ratings], files: Sequence[str]) -> list[str]:
    """A different name for every reviewer: the one that was given, or else that of the file."""
    names: list[str] = []
    for review, file in zip(reviews, files, strict=True):
        name = review.reviewer.strip() or file
        while name in names:
            name += "'"
        names.append(name)
    return names


def format_agreement(reviews: Sequence[Ratings], names: Sequence[str]) -> str:
    """The grades of every reviewer, and how far they agree, as text."""
    rows = [["reviewer", "rated", *(str(grade) for grade in GRADES), "mean"]]
    for review, name in zip(reviews, names, strict=True):
        given = list(review.grades.values())
        mean = f"{sum(given) / len(given):.2f}" if given else "-"
        rows.append([name, str(len(given)), *(str(given.count(grade)) for grade in GRADES), mean])
    lines = table(rows, right=range(1, len(rows[0])), underlined=(0,))
    lines += ["", *(f"{grade}: {meaning}" for grade, meaning in GRADES.items())]
    if len(reviews) > 1:
        found = agreement([review.grades for review in reviews])
        lines += ["", f"Rated by all {len(reviews)} reviewers: {counted(found.items, 'prediction')}."]
        if found.items:
            pairs = ", mean over pairs of reviewers" if len(reviews) > 2 else ""
            lines += [
                f"The same grade: {found.same:.0%}. At most one grade apart: {found.near:.0%}.",
                f"Cohen's kappa with quadratic weights{pairs}: {_kappa(found.weighted)}.",
                f"Fleiss' kappa: {_kappa(found.fleiss)}.",
            ]
    return "\n".join(lines)


def _kappa(value: float) -> str:
    return "undefined, because all grades are the same" if math.isnan(value) else f"{value:.3f}"
