"""Numbers as a page shows them."""

from __future__ import annotations

import math

NONE = "–"
"""What stands where there is no number."""


def score_text(value: float, digits: int) -> str:
    """A score as tables show it."""
    if math.isnan(value):
        return NONE
    return f"{value:.{digits}f}" if math.isfinite(value) else "∞"


def plain_number(value: float) -> str:
    """A number as the script of the page reads it."""
    return "" if math.isnan(value) else "Infinity" if math.isinf(value) else f"{value:.9g}"


def amount_text(value: float) -> str:
    """A volume, or a number of objects."""
    return NONE if math.isnan(value) else f"{value:,.0f}" if value >= 100 or value.is_integer() else f"{value:.3g}"
