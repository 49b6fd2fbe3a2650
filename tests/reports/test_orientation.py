from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from umseg.reports.orientation import View, array_letters, upright

AXES = itertools.permutations(("LR", "AP", "SI"))
ALL = ["".join(letters) for axes in AXES for letters in itertools.product(*axes)]


def coordinates(letters: str) -> dict[str, NDArray[Any]]:
    """Per axis of the body, how far every voxel lies towards R, A and S, if the axes point to the letters."""
    grids = np.meshgrid(*(np.arange(size) for size in (3, 4, 5)), indexing="ij")
    found = {}
    for grid, letter in zip(grids, letters, strict=True):
        found[{"L": "R", "P": "A", "I": "S"}.get(letter, letter)] = -grid if letter in "LPI" else grid
    return found


@pytest.mark.parametrize("letters", ALL)
@pytest.mark.parametrize("across", [0, 1, 2])
def test_every_orientation_is_shown_upright(letters: str, across: int) -> None:
    """Rising towards the top: S, or A in an axial slice; rising towards the left: R, or A in a sagittal one."""
    view = upright(letters, across)
    shown = {side: view(values.take(1, across)) for side, values in coordinates(letters).items()}
    axial, sagittal = letters[across] in "SI", letters[across] in "LR"
    up, left = shown["A" if axial else "S"], shown["A" if sagittal else "R"]
    assert (np.diff(up, axis=0) == -1).all()
    assert (np.diff(up, axis=1) == 0).all()
    assert (np.diff(left, axis=1) == -1).all()
    assert view.edges == ("AP" if sagittal else "RL") + ("AP" if axial else "SI")
    assert view.normal == letters[across]


def test_letters_follow_the_axes_of_the_array() -> None:
    assert array_letters("RAS") == "SAR"
    assert array_letters("LPS", (2, 0, 1)) == "LSP"
    assert array_letters(None) == ""


def test_without_letters_nothing_is_turned() -> None:
    plane = np.arange(6).reshape(2, 3)
    assert upright("", 0) == View()
    np.testing.assert_array_equal(View()(plane), plane)
    assert View(transposed=True).size((2.0, 1.0)) == (1.0, 2.0)
