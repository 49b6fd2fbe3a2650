from __future__ import annotations

from dataclasses import replace

import pytest

from umseg.dataset.io.grid import Geometry, most_telling, spacings_agree

GRID = Geometry((6, 5, 4), (1.0, 2.0, 3.0), (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
OTHER = replace(GRID, spacing=(1.0, 2.0, 3.1))
PIXELS, UNSTATED = replace(OTHER, unit="px"), replace(OTHER, unit=None)
FLAT = Geometry((6, 5), (1.0, 2.0), (0.0, 0.0), (1.0, 0, 0, 1.0))


@pytest.mark.parametrize(
    ("first", "second", "agree"),
    [
        (GRID, GRID, True),
        (GRID, replace(GRID, spacing=(1.0005, 2.0, 3.0)), True),
        (GRID, OTHER, False),
        (GRID, UNSTATED, True),
        (UNSTATED, replace(UNSTATED, spacing=(9.0, 9.0, 9.0)), True),
        (GRID, PIXELS, True),
        (PIXELS, replace(GRID, unit="px"), False),
        (FLAT, replace(FLAT, spacing=(1.0, 2.1)), False),
        (FLAT, replace(GRID, size=(6, 5, 1)), True),
        (replace(GRID, size=(6, 5, 1)), replace(OTHER, size=(6, 5, 1)), True),
    ],
)
def test_spacings_agree_if_they_are_alike_or_not_to_be_compared(first: Geometry, second: Geometry, agree: bool) -> None:
    assert spacings_agree(first, second) is agree
    assert spacings_agree(second, first) is agree


def test_the_file_that_says_most_is_asked() -> None:
    assert most_telling([UNSTATED, PIXELS, GRID, OTHER]) is GRID
    assert most_telling([UNSTATED, PIXELS]) is PIXELS
    assert most_telling([FLAT, GRID]) is FLAT
