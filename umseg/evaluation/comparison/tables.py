"""A comparison as tables: for a terminal and Markdown, as CSV, and as LaTeX."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator

from umseg.common.text import counted, few
from umseg.evaluation.comparison.comparison import Comparison, MethodScores, QuantityComparison

Rows = list[list[str]]
_LATEX = {"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}",
          "^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "±": r"$\pm$"}  # fmt: skip


def markdown(comparison: Comparison) -> str:
    """Tables in Markdown, which are read as plain text, too: the best method is bold, the second best in italics."""
    marks = {1: ("**", "**"), 2: ("*", "*")}
    parts = [_markdown_table(_score_rows(comparison, marks)), *_notes(comparison)]
    for quantity in comparison.quantities:
        parts += [
            f"### {quantity.title}",
            _markdown_table(_detail_rows(quantity)),
            _markdown_table(_test_rows(quantity)),
        ]
        parts += [_power_line(comparison, quantity)]
    return "\n\n".join(parts) + "\n"


def latex(comparison: Comparison) -> str:
    """The table of scores for a paper, in the form of the paper's Tables 3 to 7: best bold, second best underlined."""
    marks = {1: (r"\textbf{", "}"), 2: (r"\underline{", "}")}
    header, *rows = _score_rows(comparison, marks, escape=_escaped)
    lines = [r"\begin{tabular}{l" + "c" * (len(header) - 1) + "}", r"\hline", " & ".join(header) + r" \\", r"\hline"]
    lines += [" & ".join(row) + r" \\" for row in rows]
    return "\n".join([*lines, r"\hline", r"\end{tabular}"]) + "\n"


def as_csv(comparison: Comparison) -> str:
    """One row per quantity and method, and below one per quantity and pair, with all digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([
        "metric", "method", "n", "mean", "sd", "median", "q1", "q3", "mean_low", "mean_high", "median_low",
        "median_high", "rank", "mean_rank", "rank_low", "rank_high", "first",
    ])  # fmt: skip
    for quantity in comparison.quantities:
        for one in quantity.methods:
            d = one.scores
            values = (d.mean, d.sd, d.median, *d.quartiles, *d.mean_t, *d.median_order)
            ranks = (one.rank, one.mean_rank, *one.ranks, one.first)
            writer.writerow([quantity.key, one.method, d.n, *map(_cell, values), *map(_cell, ranks)])
    writer.writerow([])
    writer.writerow([
        "metric", "first", "second", "difference", "low", "high", "p_holm", "p_permutation", "p_wilcoxon", "p_t",
        "effect", "smallest_visible",
    ])  # fmt: skip
    for quantity in comparison.quantities:
        for pair in quantity.pairs:
            tests = (pair.p_holm, pair.p_permutation, pair.p_wilcoxon, pair.p)
            cells = (pair.difference, *pair.interval, *tests, pair.effect, pair.smallest_visible)
            writer.writerow([quantity.key, pair.first, pair.second, *map(_cell, cells)])
    return text.getvalue()


FORMS: dict[str, Callable[[Comparison], str]] = {"md": markdown, "csv": as_csv, "tex": latex}
"""Functions that write a comparison, by the ending of the file."""


def _score_rows(
    comparison: Comparison,
    marks: dict[int, tuple[str, str]],
    escape: Callable[[str], str] = lambda text: text,
) -> Rows:
    """Methods by quantities: mean ± standard deviation."""
    rows = [["Method", *(escape(f"{quantity.title} {_arrow(quantity)}") for quantity in comparison.quantities)]]
    for number, name in enumerate(comparison.methods):
        cells = []
        for quantity in comparison.quantities:
            one = quantity.methods[number]
            before, after = marks.get(_place(one, quantity), ("", ""))
            cells.append(before + escape(f"{_figure(one.scores.mean)} ± {_figure(one.scores.sd)}") + after)
        rows.append([escape(name), *cells])
    return rows


def _place(one: MethodScores, quantity: QuantityComparison) -> int:
    """1 for the best and, of at least three, 2 for the second best; 0 where all are equal."""
    ranks = sorted({other.rank for other in quantity.methods})
    place = ranks.index(one.rank) + 1 if len(ranks) > 1 else 0
    return place if place == 1 or len(quantity.methods) > 2 else 0


def _detail_rows(quantity: QuantityComparison) -> Rows:
    rows = [["Method", "n", "mean [95 %]", "median [95 %]", "quartiles", "rank [95 %]", "first"]]
    for one in quantity.methods:
        d = one.scores
        rows.append([
            one.method,
            str(d.n),
            f"{_figure(d.mean)} [{_figure(d.mean_t[0])}, {_figure(d.mean_t[1])}]",
            f"{_figure(d.median)} [{_figure(d.median_order[0])}, {_figure(d.median_order[1])}]",
            f"{_figure(d.quartiles[0])} to {_figure(d.quartiles[1])}",
            f"{one.rank} [{one.ranks[0]:.3g}, {one.ranks[1]:.3g}]",
            f"{100 * one.first:.0f} %",
        ])  # fmt: skip
    return rows


def _test_rows(quantity: QuantityComparison) -> Rows:
    rows = [["Pair", "difference [95 %]", "p (Holm)", "p (signs)", "p (Wilcoxon)", "effect d"]]
    return rows + [
        [
            f"{pair.first} - {pair.second}",
            f"{pair.difference:+.4f} [{pair.interval[0]:+.4f}, {pair.interval[1]:+.4f}]",
            _p(pair.p_holm),
            _p(pair.p_permutation),
            _p(pair.p_wilcoxon),
            f"{pair.effect:+.2f}",
        ]
        for pair in quantity.pairs
    ]


def _power_line(comparison: Comparison, quantity: QuantityComparison) -> str:
    """What could not have been seen, by the pair that is known best."""
    visible = [pair.smallest_visible for pair in quantity.pairs if not math.isnan(pair.smallest_visible)]
    if not visible:
        return "With fewer than two cases no difference can be seen."
    seeds = f" and {counted(min(comparison.seeds), 'seed')}" if max(comparison.seeds) > 1 else ""
    text = f"With {counted(quantity.n_cases, 'case')}{seeds} a difference below {min(visible):.2g} cannot be seen"
    return f"{text} (80 % power, two-sided 5 %, one test)."


def _notes(comparison: Comparison) -> Iterator[str]:
    best = "best bold, second best in italics" if len(comparison.methods) > 2 else "the better one bold"
    yield f"Mean ± standard deviation over {counted(len(comparison.cases), 'case')}; {best}."
    if max(comparison.seeds) > 1:
        seeds = ", ".join(f"{name} {n}" for name, n in zip(comparison.methods, comparison.seeds, strict=True))
        yield f"Trainings (seeds): {seeds}. A case's score is the mean over them; intervals and p count both."
    if comparison.left_out:
        yield f"Left out, because not all methods have them: {few(comparison.left_out)}."
    for quantity in comparison.quantities:
        if quantity.not_scored:
            names = few(quantity.not_scored)
            yield f"{quantity.title}: not scored by all methods, and left out for all: {names}."


def _arrow(quantity: QuantityComparison) -> str:
    return {"higher": "↑", "lower": "↓", "zero": "→ 0"}[quantity.better]


def _markdown_table(rows: Rows) -> str:
    rows = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _figure(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"


def _p(value: float) -> str:
    if math.isnan(value):
        return "-"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _cell(value: float) -> str:
    return "" if math.isnan(value) else repr(value)


def _escaped(text: str) -> str:
    arrows = {"↑": r"$\uparrow$", "↓": r"$\downarrow$", "→": r"$\rightarrow$"}
    return "".join({**_LATEX, **arrows}.get(letter, letter) for letter in text)
