"""The rows of the tables of a comparison, in the forms of the paper's Tables 3 to 7, and the notes below them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from umseg.common.text import counted, few
from umseg.evaluation.comparison.comparison import Comparison, MethodScores, QuantityComparison

Rows = list[list[str]]


@dataclass(frozen=True)
class Style:
    """How cells are written in one form of table.

    Attributes:
        escape: Makes text safe for the form.
        best: What stands before and behind the best score.
        second: What stands before and behind the second best one.
    """

    escape: Callable[[str], str]
    best: tuple[str, str]
    second: tuple[str, str]

    def marked(self, text: str, one: MethodScores, quantity: QuantityComparison) -> str:
        """A score with the mark of its place: the best and, of at least three methods, the second best."""
        ranks = sorted({other.rank for other in quantity.methods})
        place = ranks.index(one.rank) if len(ranks) > 1 else 2
        before, after = self.best if place == 0 else ("", "")
        if place == 1 and len(quantity.methods) > 2:
            before, after = self.second
        return before + self.escape(text) + after


def over_classes(comparison: Comparison) -> list[QuantityComparison]:
    """The comparisons in which a case has the mean over its classes."""
    return [quantity for quantity in comparison.quantities if quantity.class_name is None]


def of_classes(comparison: Comparison) -> dict[str, list[QuantityComparison]]:
    """The comparisons of each class, in the order of the metrics."""
    found: dict[str, list[QuantityComparison]] = {}
    for quantity in comparison.quantities:
        if quantity.class_name is not None:
            found.setdefault(quantity.class_name, []).append(quantity)
    return found


def score_rows(comparison: Comparison, style: Style) -> Rows:
    """Methods by metrics, mean ± standard deviation, as in Tables 3 and 4."""
    quantities = over_classes(comparison)
    rows = [["Method", *(style.escape(heading(quantity)) for quantity in quantities)]]
    for number, name in enumerate(comparison.methods):
        scores = (quantity.methods[number] for quantity in quantities)
        cells = [
            style.marked(f"{figure(one.scores.mean)} ± {figure(one.scores.sd)}", one, quantity)
            for one, quantity in zip(scores, quantities, strict=True)
        ]
        rows.append([style.escape(name), *cells])
    return rows


def class_rows(comparison: Comparison, style: Style) -> Rows:
    """Classes by methods and metrics, means only, with the mean over classes last, as in Tables 5 to 7."""
    rows = []
    classes = {**of_classes(comparison), "mean": over_classes(comparison)}
    for name, quantities in classes.items():
        cells = [
            style.marked(figure(quantity.methods[number].scores.mean), quantity.methods[number], quantity)
            for number, _ in enumerate(comparison.methods)
            for quantity in quantities
        ]
        rows.append([style.escape(name), *cells])
    return rows


def detail_rows(quantity: QuantityComparison) -> Rows:
    """Methods by what describes their scores and their rank."""
    rows = [["Method", "n", "mean [95 %]", "median [95 %]", "quartiles", "rank [95 %]", "comes first"]]
    for one in quantity.methods:
        d = one.scores
        rows.append([
            one.method,
            str(d.n),
            f"{figure(d.mean)} [{figure(d.mean_t[0])}, {figure(d.mean_t[1])}]",
            f"{figure(d.median)} [{figure(d.median_order[0])}, {figure(d.median_order[1])}]",
            f"{figure(d.quartiles[0])} to {figure(d.quartiles[1])}",
            f"{one.rank} [{one.ranks[0]:.3g}, {one.ranks[1]:.3g}]" if d.n else "-",
            f"{100 * one.first:.0f} %" if d.n else "-",
        ])  # fmt: skip
    return rows


def pair_rows(quantity: QuantityComparison) -> Rows:
    """Pairs of methods by their difference, the tests and the effect."""
    rows = [["Pair", "difference [95 %]", "p (Holm)", "p (signs)", "p (Wilcoxon)", "effect d"]]
    return rows + [
        [
            f"{pair.first} - {pair.second}",
            f"{signed(pair.difference)} [{signed(pair.interval[0])}, {signed(pair.interval[1])}]",
            _p(pair.p_holm),
            _p(pair.p_permutation),
            _p(pair.p_wilcoxon),
            "-" if math.isnan(pair.effect) else f"{pair.effect:+.2f}",
        ]
        for pair in quantity.pairs
    ]


def power_line(comparison: Comparison, quantity: QuantityComparison) -> str:
    """What could not have been seen, by the pair that is known best."""
    visible = [pair.smallest_visible for pair in quantity.pairs if not math.isnan(pair.smallest_visible)]
    if not visible:
        return "With fewer than two cases no difference can be seen."
    if not max(visible):
        return "The differences do not vary between cases, so that nothing can be said of smaller ones."
    smallest = min(value for value in visible if value)
    seeds = f" and {counted(min(comparison.seeds), 'seed')}" if max(comparison.seeds) > 1 else ""
    text = f"With {counted(quantity.n_cases, 'case')}{seeds} a difference below {smallest:.2g} cannot be seen"
    return f"{text} (80 % power, two-sided 5 %, one test)."


def notes(comparison: Comparison, best: str, second: str) -> Iterator[str]:
    """What the reader of a table has to know.

    Args:
        comparison: What was compared.
        best: How the best score is marked.
        second: How the second best one is.
    """
    marks = f"best {best}, second best {second}" if len(comparison.methods) > 2 else f"the better one {best}"
    yield f"Mean ± standard deviation over {counted(len(comparison.cases), 'case')}; {marks}."
    if max(comparison.seeds) > 1:
        seeds = ", ".join(f"{name} {n}" for name, n in zip(comparison.methods, comparison.seeds, strict=True))
        yield f"Trainings (seeds): {seeds}. A case's score is the mean over them; intervals and p count both."
    if comparison.left_out:
        yield f"Left out, because not all methods have them: {few(comparison.left_out)}."
    for quantity in over_classes(comparison):
        if quantity.not_scored:
            names = few(quantity.not_scored)
            yield f"{quantity.title}: not finite by all methods, and left out for all: {names}."
    counts = _left_out_of_classes(comparison)
    if counts:
        yield f"Classes that not all methods have a finite score of in all cases, with the number left out: {counts}."


def heading(quantity: QuantityComparison) -> str:
    """The title of a metric with an arrow to where the better scores are."""
    return f"{quantity.title} " + {"higher": "↑", "lower": "↓", "zero": "→ 0"}[quantity.better]


def figure(value: float) -> str:
    """A score as the paper prints it: four digits, two where it is a length or a volume of more than 10."""
    if math.isnan(value):
        return "-"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"


def signed(value: float) -> str:
    """A difference with its sign."""
    return "-" if math.isnan(value) else f"{value:+.4f}" if abs(value) < 10 else f"{value:+.2f}"


def _left_out_of_classes(comparison: Comparison) -> str:
    numbers: dict[str, int] = {}
    for name, quantities in of_classes(comparison).items():
        numbers[name] = max(len(quantity.not_scored) for quantity in quantities)
    return few((f"{name} ({number})" for name, number in numbers.items() if number), most=20)


def _p(value: float) -> str:
    if math.isnan(value):
        return "-"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def headings(comparison: Comparison) -> Sequence[str]:
    """The titles of all metrics."""
    return [heading(quantity) for quantity in over_classes(comparison)]
