"""Parts of charts as inline SVG: elements whose texts are escaped, and axes with round numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

ROW = 11
"""Size of the text in charts."""


def element(name: str, *children: Markup, text: str | None = None, **attributes: Any) -> Markup:
    """An element of SVG; attributes that are None are left out, and ``_`` in their names stands for ``-``."""
    written = "".join(
        f' {key.strip("_").replace("_", "-")}="{escape(_attribute(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inner = (escape(text) if text is not None else Markup("")) + Markup("").join(children)
    return Markup(f"<{name}{written}>{inner}</{name}>")


def chart(width: float, height: float, label: str, parts: Iterable[Markup], css: str = "chart") -> Markup:
    """A whole chart, whose label is read to those who do not see it."""
    return element(
        "svg", *parts, viewBox=f"0 0 {_attribute(width)} {_attribute(height)}", role="img", aria_label=label, class_=css
    )


@dataclass(frozen=True)
class Scale:
    """Numbers to places along an axis.

    Attributes:
        low: Number at ``start``.
        high: Number at ``stop``.
        start: First place.
        stop: Last place.
        logarithmic: Whether equal factors are equally far apart.
    """

    low: float
    high: float
    start: float
    stop: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """The place of a number; numbers beyond the ends are placed there."""
        low, high, value = (self._plain(number) for number in (self.low, self.high, value))
        share = (min(max(value, low), high) - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.stop - self.start)

    def _plain(self, value: float) -> float:
        return math.log10(value) if self.logarithmic else value

    def ticks(self, most: int = 6) -> list[float]:
        """Round numbers within the scale."""
        if not self.logarithmic:
            return round_numbers(self.low, self.high, most)
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        steps = (1, 2, 5) if last - first <= 2 else (1,)
        marks = [step * 10.0**power for power in range(first, last + 1) for step in steps]
        return [mark for mark in marks if self.low * 0.999 <= mark <= self.high * 1.001]


def round_numbers(low: float, high: float, most: int = 6) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten between two numbers, at most about ``most``."""
    if not high > low:
        return [low]
    rough = (high - low) / max(most - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{number * step:.10g}") for number in range(first, last + 1)]


def span(values: Sequence[float], low: float | None = None, high: float | None = None) -> tuple[float, float]:
    """The ends of a scale for these numbers, a little wider than they are, unless an end is given."""
    least, most = min(values), max(values)
    margin = 0.04 * (most - least) or 0.05 * abs(most) or 0.5
    return (least - margin if low is None else low), (most + margin if high is None else high)


def number(value: float, digits: int = 4) -> str:
    """A number in a few digits, without an exponent where that is short."""
    return f"{value:.{digits}g}" if 1e-4 <= abs(value) < 1e6 or value == 0 else f"{value:.1e}"


def _attribute(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
