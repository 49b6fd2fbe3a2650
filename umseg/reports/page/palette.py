"""Colours that colour-blind readers tell apart, as code of HTML and as numbers."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from umseg.common.colours import class_colours, lab

# Okabe and Ito, "Color Universal Design" (https://jfly.uni-koeln.de/color/), without black.
_FIRST = ("0072b2", "e69f00", "009e73", "cc79a7", "56b4e9", "d55e00", "f0e442")
_NEAR = 20.0
"""Further colours keep this distance in CIE L*a*b* from the first ones."""
_MOST = 120
"""Number of different colours; those of further classes are the same again."""

_ON_BLACK = "4aa8ee"
"""The first colour as it is drawn on images, where it would be too dark."""

MISSED, EXTRA, CONFUSED = "d55e00", "f0e442", "cc79a7"
"""Colours of the error map: reference without prediction, prediction without reference, and the wrong class."""


@lru_cache(maxsize=8)
def codes(count: int) -> tuple[str, ...]:
    """``count`` colours as six hexadecimal digits; those of fewer classes are the beginning of those of more."""
    chosen = list(_FIRST[:count])
    if count > len(_FIRST):
        others = np.array(class_colours(_MOST))
        places = lab(np.array([_fractions(code) for code in _FIRST]))
        distances = np.min([np.linalg.norm(lab(others) - place, axis=1) for place in places], axis=0)
        chosen += [_code(colour) for colour in others[distances > _NEAR].tolist()]
    return tuple(chosen[number % len(chosen)] for number in range(count))


def on_images(count: int) -> tuple[str, ...]:
    """The same colours as they are drawn on images."""
    return tuple(_ON_BLACK if code == _FIRST[0] else code for code in codes(count))


def rgb(code: str) -> tuple[int, int, int]:
    """Red, green and blue from 0 to 255."""
    red, green, blue = (int(code[place : place + 2], 16) for place in (0, 2, 4))
    return red, green, blue


def _fractions(code: str) -> list[float]:
    return [part / 255 for part in rgb(code)]


def _code(colour: list[float]) -> str:
    return "".join(f"{round(255 * part):02x}" for part in colour)
