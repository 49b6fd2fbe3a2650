"""Slices as radiologists view them: superior or anterior up, the patient's right on the left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

_LETTERS = ("LR", "PA", "SI")
"""The two ends of the patient's axes; of two axes the later one is vertical in a picture."""
_UP = "SA"
"""Letters that stand at the top of a picture."""
_LEFT = "RA"
"""Letters that stand at the left of a picture."""


@dataclass(frozen=True)
class View:
    """How a slice of a volume is turned to be shown upright.

    Attributes:
        transposed: Whether rows become columns.
        flipped: Whether rows, and columns, are then reversed.
        edges: Letters at the left, right, top and bottom edge of the picture; empty where the axes mean nothing.
        normal: Letter of the direction in which the numbers of the slices grow; empty as above.
    """

    transposed: bool = False
    flipped: tuple[bool, bool] = (False, False)
    edges: str = ""
    normal: str = ""

    def __call__(self, plane: NDArray[Any]) -> NDArray[Any]:
        """The slice (rows, columns, ...) as it is shown."""
        turned = plane.swapaxes(0, 1) if self.transposed else plane
        return turned[:: -1 if self.flipped[0] else 1, :: -1 if self.flipped[1] else 1]

    def size(self, plane: tuple[float, float]) -> tuple[float, float]:
        """Height and width of the shown slice, from a slice's size along rows and columns."""
        return plane[::-1] if self.transposed else plane


def array_letters(codes: str | None, order: Sequence[int] = (0, 1, 2)) -> str:
    """The side of the patient to which every axis of an array points, such as "SAR".

    Args:
        codes: Axis codes of the image (x, y, z), such as "RAS" (``stored_axes``); None where they are unknown.
        order: Axes of the array, as axes (z, y, x) of the image as it was read.

    Returns:
        A letter per axis of the array; nothing where they are unknown.
    """
    return "" if codes is None else "".join(codes[2 - axis] for axis in order)


def opposite(letter: str) -> str:
    """The other side: R for L."""
    pair = next(pair for pair in _LETTERS if letter in pair)
    return pair[1 - pair.index(letter)]


def upright(letters: str, across: int) -> View:
    """The view of the slices across an axis.

    Args:
        letters: Sides to which the three axes point (``array_letters``); empty where that is unknown.
        across: The axis that a slice has no extent along.
    """
    if not letters:
        return View()
    rows, columns = (letter for axis, letter in enumerate(letters) if axis != across)
    # Superior or inferior is vertical, else anterior or posterior: sagittal slices have S above and A on the left.
    transposed = _rank(columns) > _rank(rows)
    down, right = (columns, rows) if transposed else (rows, columns)
    flipped = (down in _UP, right in _LEFT)
    down, right = (opposite(letter) if flip else letter for letter, flip in zip((down, right), flipped, strict=True))
    edges = opposite(right) + right + opposite(down) + down
    return View(transposed, flipped, edges, letters[across])


def _rank(letter: str) -> int:
    return next(rank for rank, pair in enumerate(_LETTERS) if letter in pair)
