"""One line of the table of `benchmarks/predict.py`: what was measured, and whether it keeps what was promised."""

from __future__ import annotations

from benchmarks.common import Row


def at_most(part: str, what: str, figure: float, limit: float, unit: str) -> Row:
    """A figure that must not be above a limit."""
    return _row(part, what, f"{figure:.3g} {unit}".strip(), f"at most {limit:g} {unit}".strip(), figure <= limit)


def at_least(part: str, what: str, figure: float, limit: float, unit: str) -> Row:
    """A figure that must not be below a limit."""
    text = f"{figure:.6g}" if unit == "%" else f"{figure:.3g}"
    return _row(part, what, f"{text} {unit}".strip(), f"at least {limit:g} {unit}".strip(), figure >= limit)


def fact(part: str, what: str, found: str, expected: str, holds: bool) -> Row:
    """Something that is so, or is not."""
    return _row(part, what, found, expected, holds)


def told(part: str, what: str, found: str) -> Row:
    """A figure without a limit, or why there is none."""
    return {"part": part, "what": what, "measured": found, "promised": "", "holds": ""}


def _row(part: str, what: str, found: str, promised: str, holds: bool) -> Row:
    return {"part": part, "what": what, "measured": found, "promised": promised, "holds": "yes" if holds else "NO"}
