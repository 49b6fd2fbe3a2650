"""Where the panels of a preview stand: in columns, at one scale, as large as they can be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """A panel's place in pixels from the top left corner."""

    top: int
    left: int
    height: int
    width: int


def arrange(
    sizes: Sequence[tuple[float, float]], room: tuple[int, int], gap: int, caption: int
) -> tuple[list[Place], tuple[int, int]]:
    """Arrange panels so that a millimetre is as long as it can be, and equally long in all of them.

    Every division of the panels, in their order, into columns is tried.

    Args:
        sizes: Height and width of every panel in any unit.
        room: Height and width that there are, in pixels.
        gap: Pixels between neighbouring panels.
        caption: Pixels above every panel for its title.

    Returns:
        The place of every panel, and the height and width that are used.
    """
    scale, columns = max(
        ((_scale(columns, sizes, room, gap, caption), columns) for columns in _divisions(len(sizes))),
        key=lambda choice: choice[0],
    )
    places, left, bottom = [], 0, 0
    for column in columns:
        top = -gap
        for panel in column:
            height, width = (max(1, round(length * scale)) for length in sizes[panel])
            top += gap + caption
            places.append(Place(top, left, height, width))
            top += height
        bottom = max(bottom, top)
        left = max(place.left + place.width for place in places) + gap
    return places, (bottom, left - gap)


def _scale(
    columns: Sequence[range], sizes: Sequence[tuple[float, float]], room: tuple[int, int], gap: int, caption: int
) -> float:
    """Pixels per unit at which columns of panels just fit."""
    wide = (room[1] - gap * (len(columns) - 1)) / sum(max(sizes[panel][1] for panel in column) for column in columns)
    high = min(
        (room[0] - caption * len(column) - gap * (len(column) - 1)) / sum(sizes[panel][0] for panel in column)
        for column in columns
    )
    return min(wide, high)


def _divisions(count: int, start: int = 0) -> Iterator[tuple[range, ...]]:
    """All divisions of the numbers from ``start`` below ``count`` into columns of successive numbers."""
    if start == count:
        yield ()
    for stop in range(start + 1, count + 1):
        for others in _divisions(count, stop):
            yield (range(start, stop), *others)
