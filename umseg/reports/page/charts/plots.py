"""The charts of a page: scores by class, scores against sizes, and the curves of a training."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from umseg.common.text import counted
from umseg.reports.page.charts.svg import ROW, Scale, chart, element, number, span
from umseg.reports.page.palette import codes
from umseg.reports.page.sources.scores import Spread

WIDTH = 560
_LEFT, _RIGHT, _BOTTOM = 130, 14, 34
_STRIP = 30
_WIDER = 1.15
"""Factor by which a logarithmic scale is wider than its numbers at either end."""
_MOST_NAMED = 2000
"""Number of points up to which each has its name."""
_SHAPES = ("circle", "square", "diamond", "triangle")


@dataclass(frozen=True)
class Strip:
    """A row of a distribution: one class in one source.

    Attributes:
        name: What it is.
        label: What stands at its left; empty where the strip above has the same class.
        values: Case to score.
        source: Number of the source, which chooses the colour and the shape.
    """

    name: str
    label: str
    values: Mapping[str, float]
    source: int = 0


def distributions(
    title: str, strips: Sequence[Strip], bounds: tuple[float, float] | None, *, logarithmic: bool = False
) -> Markup:
    """Every case as a point, above a box from quartile to quartile with a line at the median; a row per strip.

    Args:
        title: Name of the metric, below the axis.
        strips: At least one; those without a value are rows without a point.
        bounds: The ends of the scale; None: those of the values.
        logarithmic: Whether equal factors are equally far apart, where all values are positive and differ.
    """
    everything = [value for strip in strips for value in strip.values.values()]
    logarithmic = logarithmic and bool(everything) and 0 < min(everything) < max(everything)
    low, high = (min(everything) / _WIDER, max(everything) * _WIDER) if logarithmic else _ends(everything, bounds)
    scale = Scale(low, high, _LEFT, WIDTH - _RIGHT, logarithmic)
    height = 10 + _STRIP * len(strips) + _BOTTOM
    parts = [*_level_axis(scale, 10, height - _BOTTOM, title)]
    named = len(everything) <= _MOST_NAMED
    for place, strip in enumerate(strips):
        middle = 10 + _STRIP * (place + 0.5)
        parts += _strip(strip, scale, middle, named)
    label = f"{title} by class. " + "; ".join(_in_words(strip) for strip in strips) + "."
    return chart(WIDTH, height, label, parts)


def _ends(values: Sequence[float], bounds: tuple[float, float] | None) -> tuple[float, float]:
    if not values:
        return bounds or (0.0, 1.0)
    if bounds is None:
        return span(values)
    # A scale from 0 to 1 wastes most of the width where all scores are high.
    low, high = bounds
    floor = math.floor((min(values) - 0.02) * 10) / 10
    return max(low, min(floor, high - 0.2)), high


def _in_words(strip: Strip) -> str:
    spread = Spread.of(strip.values.values())
    if not spread.count:
        return f"{strip.name}: no score"
    median, least = number(spread.quartiles[1], 3), number(min(strip.values.values()), 3)
    return f"{strip.name}: median {median}, from {least} in {counted(spread.count, 'case')}"


def _strip(strip: Strip, scale: Scale, middle: float, named: bool) -> list[Markup]:
    colour = f"#{codes(strip.source + 1)[-1]}"
    parts = [
        element("text", text=_short(strip.label, 18), x=_LEFT - 10, y=middle + 4, text_anchor="end", class_="name"),
    ]
    spread = Spread.of(strip.values.values())
    if not spread.count:
        return [*parts, element("text", text="no score", x=_LEFT + 6, y=middle + 4, class_="muted")]
    low, median, high = (scale(value) for value in spread.quartiles)
    parts.append(
        element("rect", x=low, y=middle - 9, width=max(high - low, 0.5), height=18, rx=2, fill=colour, class_="box")
    )
    last: dict[int, int] = {}
    for case, value in sorted(strip.values.items(), key=lambda entry: (entry[1], entry[0])):
        x = scale(value)
        # Points that would cover each other are moved up and down in turns.
        bin_ = round(x / 4)
        rank = last[bin_] = last.get(bin_, -1) + 1
        shift = ((rank + 1) // 2) * (1 if rank % 2 else -1) * 3.2
        parts.append(_point(case, value, x, middle + max(-11.0, min(11.0, shift)), strip.source, named))
    line = element("line", x1=median, x2=median, y1=middle - 11, y2=middle + 11, class_="median")
    return [*parts, line]


def _point(case: str, value: float, x: float, y: float, source: int, named: bool) -> Markup:
    colour, shape = f"#{codes(source + 1)[-1]}", _SHAPES[source % len(_SHAPES)]
    title = (element("title", text=f"{case}: {number(value)}"),) if named else ()
    style: dict[str, Any] = {"fill": colour, "class_": "point", "data_case": case if named else None}
    if shape == "circle":
        return element("circle", *title, cx=x, cy=y, r=2.6, **style)
    corners = {
        "square": ((-2.4, -2.4), (2.4, -2.4), (2.4, 2.4), (-2.4, 2.4)),
        "diamond": ((0, -3.2), (3.2, 0), (0, 3.2), (-3.2, 0)),
        "triangle": ((0, -3), (2.9, 2.4), (-2.9, 2.4)),
    }[shape]
    return element("polygon", *title, points=" ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners), **style)


def legend(names: Sequence[str]) -> Markup:
    """The marks of the groups of a chart with their names."""
    return _keys((_point("", 0, 7, 6, number, named=False), name) for number, name in enumerate(names))


def line_legend(names: Sequence[str]) -> Markup:
    """The lines of :func:`curves` with their names."""
    return _keys((_line(number, x1=0, x2=22, y1=6, y2=6), name) for number, name in enumerate(names))


def _keys(entries: Iterable[tuple[Markup, str]]) -> Markup:
    return Markup("").join(
        element(
            "span",
            element("svg", mark, viewBox="0 0 22 12", class_="mark", aria_hidden="true"),
            escape(name),
            class_="key",
        )
        for mark, name in entries
    )


def _line(number: int, **places: Any) -> Markup:
    return element("line", class_="curve", **_stroke(number), **places)


def _stroke(number: int) -> dict[str, Any]:
    """Colour and dashes of a line."""
    return {
        "stroke": f"#{codes(number + 1)[-1]}",
        "stroke_dasharray": ("", "5 3", "2 2", "8 3 2 3")[number % 4] or None,
    }


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _level_axis(scale: Scale, top: float, bottom: float, title: str) -> list[Markup]:
    """A level axis with fine lines upwards."""
    parts = []
    for mark in scale.ticks():
        x = scale(mark)
        parts.append(element("line", x1=x, x2=x, y1=top, y2=bottom, class_="grid"))
        parts.append(element("text", text=number(mark), x=x, y=bottom + ROW + 3, text_anchor="middle", class_="tick"))
    middle = (scale.start + scale.stop) / 2
    parts.append(element("text", text=title, x=middle, y=bottom + 2 * ROW + 9, text_anchor="middle", class_="axis"))
    return parts


def _upright_axis(scale: Scale, left: float, right: float, title: str) -> list[Markup]:
    parts = []
    for mark in scale.ticks(5):
        y = scale(mark)
        parts.append(element("line", x1=left, x2=right, y1=y, y2=y, class_="grid"))
        parts.append(element("text", text=number(mark), x=left - 6, y=y + 4, text_anchor="end", class_="tick"))
    x, y = left - 40, (scale.start + scale.stop) / 2
    turned = f"rotate(-90 {x:.0f} {y:.0f})"
    parts.append(element("text", text=title, x=x, y=y, transform=turned, text_anchor="middle", class_="axis"))
    return parts


@dataclass(frozen=True)
class Dot:
    """A point of a scatter chart: what stands for it, its place, and the number of its group."""

    case: str
    x: float
    y: float
    group: int = 0


def scatter(
    title: str, x_title: str, y_title: str, dots: Sequence[Dot], groups: Sequence[str], *, unit_y: bool = True
) -> Markup:
    """Points by two numbers; sizes that span more than a factor of 20 are shown on a logarithmic scale.

    Args:
        title: What is shown, for those who do not see it.
        x_title: Name of the level axis.
        y_title: Name of the upright axis.
        dots: At least one point.
        groups: Names of the groups, which differ in colour and shape.
        unit_y: Whether the upright axis holds scores from 0 to 1.
    """
    height, left = 270.0, 58.0
    across = [dot.x for dot in dots]
    logarithmic = min(across) > 0 and max(across) / min(across) > 20
    if logarithmic:
        low, high = min(across) / _WIDER, max(across) * _WIDER
    else:
        low, high = span(across)
    bottom = height - _BOTTOM
    x, y = Scale(low, high, left, WIDTH - _RIGHT, logarithmic), _upright(dots, bottom, unit_y)
    axis = f"{x_title}, logarithmic" if logarithmic else x_title
    parts = [*_level_axis(x, 10, bottom, axis), *_upright_axis(y, left, WIDTH - _RIGHT, y_title)]
    named = len(dots) <= _MOST_NAMED
    parts += [_point(dot.case, dot.y, x(dot.x), y(dot.y), dot.group, named) for dot in dots]
    return chart(WIDTH, height, f"{title}: {counted(len(dots), 'point')}, {len(groups)} groups.", parts)


def _upright(dots: Sequence[Dot], bottom: float, unit: bool) -> Scale:
    values = [dot.y for dot in dots]
    low, high = _ends(values, (0.0, 1.0) if unit else None)
    return Scale(low, high, bottom, 10)


@dataclass(frozen=True)
class Curve:
    """A line of a chart: its name, and its numbers by epoch; None leaves a gap."""

    name: str
    values: Sequence[float | None]


def curves(title: str, lines: Sequence[Curve], *, unit: bool = False) -> Markup:
    """Numbers over the epochs, one line per curve; lines differ in colour and dashes.

    Args:
        title: Name of the upright axis.
        lines: The curves.
        unit: Whether the upright axis goes from 0 to 1.
    """
    height, left = 220.0, 58.0
    finite = [v for line in lines for v in line.values if v is not None and math.isfinite(v)]
    epochs = max((len(line.values) for line in lines), default=1)
    low, high = _ends(finite, (0.0, 1.0)) if unit else span(finite or [0.0])
    bottom = height - _BOTTOM
    x, y = Scale(1, max(epochs, 2), left, WIDTH - _RIGHT), Scale(low, high, bottom, 10)
    parts = [*_epochs(x, bottom, epochs), *_upright_axis(y, left, WIDTH - _RIGHT, title)]
    for place, line in enumerate(lines):
        stroke = _stroke(place)
        for run in _runs(line.values):
            points = " ".join(f"{x(epoch):.1f},{y(value):.1f}" for epoch, value in run)
            parts.append(element("polyline", points=points, class_="curve", **stroke))
            if epochs <= 30:
                parts += [element("circle", cx=x(e), cy=y(v), r=2.2, fill=stroke["stroke"]) for e, v in run]
    last = "; ".join(f"{line.name} ends at {number(run[-1][1], 3)}" for line in lines if (run := _last(line.values)))
    return chart(WIDTH, height, f"{title} over {counted(epochs, 'epoch')}: {last}.", parts)


def _epochs(scale: Scale, bottom: float, epochs: int) -> list[Markup]:
    marks = [mark for mark in scale.ticks(8) if float(mark).is_integer()]
    parts = [
        element("text", text=str(int(mark)), x=scale(mark), y=bottom + ROW + 3, text_anchor="middle", class_="tick")
        for mark in marks
        if mark <= max(epochs, 1)
    ]
    middle = (scale.start + scale.stop) / 2
    return [
        *parts,
        element("text", text="epoch", x=middle, y=bottom + 2 * ROW + 9, text_anchor="middle", class_="axis"),
    ]


def _runs(values: Sequence[float | None]) -> list[list[tuple[int, float]]]:
    """The stretches of finite numbers, with their epochs from 1."""
    runs: list[list[tuple[int, float]]] = [[]]
    for epoch, value in enumerate(values, start=1):
        if value is None or not math.isfinite(value):
            runs.append([])
        else:
            runs[-1].append((epoch, value))
    return [run for run in runs if run]


def _last(values: Sequence[float | None]) -> list[tuple[int, float]]:
    runs = _runs(values)
    return runs[-1] if runs else []
