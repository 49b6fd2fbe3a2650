"""A comparison as text: Markdown, which is read on a terminal, too, LaTeX, and CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable

from umseg.evaluation.comparison.comparison import Comparison, MethodScores, PairTest, QuantityComparison
from umseg.evaluation.comparison.tables import (
    Rows,
    Style,
    class_rows,
    detail_rows,
    headings,
    notes,
    of_classes,
    over_classes,
    pair_rows,
    power_line,
    score_rows,
)

_LATEX = {
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    "±": r"$\pm$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "→": r"$\rightarrow$",
}
_COLUMNS = (
    *("metric", "class", "method", "minus", "n", "mean", "sd", "mean_low", "mean_high"),
    *("median", "median_low", "median_high", "q1", "q3", "rank", "mean_rank", "rank_low", "rank_high", "first"),
    *("p_holm", "p_permutation", "p_wilcoxon", "p_t", "effect", "smallest_visible"),
)


def markdown(comparison: Comparison) -> str:
    """All tables in Markdown: the best score is bold, the second best in italics."""
    style = Style(_without_bars, ("**", "**"), ("*", "*"))
    parts = [_markdown_table(score_rows(comparison, style)), *notes(comparison, "bold", "in italics")]
    if of_classes(comparison):
        titles = [_without_bars(f"{name} {title}") for name in comparison.methods for title in headings(comparison)]
        parts += ["### By class", _markdown_table([["Class", *titles], *class_rows(comparison, style)])]
    for quantity in over_classes(comparison):
        parts += [f"### {quantity.title}"]
        parts += [_markdown_table(_escaped_rows(rows(quantity))) for rows in (detail_rows, pair_rows)]
        parts += [power_line(comparison, quantity)]
    return "\n\n".join(parts) + "\n"


def latex(comparison: Comparison) -> str:
    """The tables of scores for a paper: the best score is bold, the second best underlined."""
    style = Style(_escaped, (r"\textbf{", "}"), (r"\underline{", "}"))
    header, *rows = score_rows(comparison, style)
    text = _tabular("l" + "c" * (len(header) - 1), [header], rows)
    if of_classes(comparison):
        titles = [_escaped(title) for title in headings(comparison)]
        across = [rf"\multicolumn{{{len(titles)}}}{{c}}{{{_escaped(name)}}}" for name in comparison.methods]
        heads = [["", *across], ["Class", *(titles * len(comparison.methods))]]
        body = class_rows(comparison, style)
        text += "\n" + _tabular("l" + "c" * (len(heads[1]) - 1), heads, body[:-1], body[-1:])
    return text


def as_csv(comparison: Comparison) -> str:
    """One row per metric, class and method, and one per pair of methods, whose scores are differences.

    All digits are kept, and a cell is empty where there is no number.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for quantity in comparison.quantities:
        known = {"metric": quantity.key, "class": quantity.class_name or ""}
        for one in quantity.methods:
            writer.writerow({**known, **_method_cells(one)})
        for pair in quantity.pairs:
            writer.writerow({**known, **_pair_cells(pair, quantity)})
    return text.getvalue()


FORMS: dict[str, Callable[[Comparison], str]] = {"md": markdown, "csv": as_csv, "tex": latex}
"""Functions that write a comparison, by the ending of the file."""


def _method_cells(one: MethodScores) -> dict[str, str]:
    d = one.scores
    numbers = {
        **{"mean": d.mean, "sd": d.sd, "mean_low": d.mean_t[0], "mean_high": d.mean_t[1]},
        **{"median": d.median, "median_low": d.median_order[0], "median_high": d.median_order[1]},
        **{"q1": d.quartiles[0], "q3": d.quartiles[1], "rank": one.rank, "mean_rank": one.mean_rank},
        **{"rank_low": one.ranks[0], "rank_high": one.ranks[1], "first": one.first},
    }
    return {"method": one.method, "n": str(d.n), **{name: _cell(value) for name, value in numbers.items()}}


def _pair_cells(pair: PairTest, quantity: QuantityComparison) -> dict[str, str]:
    numbers = {
        **{"mean": pair.difference, "mean_low": pair.interval[0], "mean_high": pair.interval[1]},
        **{"p_holm": pair.p_holm, "p_permutation": pair.p_permutation, "p_wilcoxon": pair.p_wilcoxon, "p_t": pair.p},
        **{"effect": pair.effect, "smallest_visible": pair.smallest_visible},
    }
    cells = {name: _cell(value) for name, value in numbers.items()}
    return {"method": pair.first, "minus": pair.second, "n": str(quantity.n_cases), **cells}


def _cell(value: float) -> str:
    return "" if math.isnan(value) else repr(value)


def _markdown_table(rows: Rows) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _escaped_rows(rows: Rows) -> Rows:
    return [[_without_bars(cell) for cell in row] for row in rows]


def _without_bars(text: str) -> str:
    return text.replace("|", "\\|")


def _tabular(columns: str, *parts: Iterable[Iterable[str]]) -> str:
    """A tabular whose parts have lines between them."""
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\hline"]
    for part in parts:
        lines += [*(" & ".join(row) + r" \\" for row in part), r"\hline"]
    return "\n".join([*lines, r"\end{tabular}"]) + "\n"


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)
