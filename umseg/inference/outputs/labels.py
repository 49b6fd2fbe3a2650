"""The labels of a label map with their names and colours, which are the same in all outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.common.colours import class_colours
from umseg.dataset.description import DatasetDescription

Colour = tuple[int, int, int]
"""Red, green and blue from 0 to 255."""

_MOST_COLOURS = 1000
"""Number of different colours; those of further labels are the same again."""


@dataclass(frozen=True)
class Label:
    """A class, or in an instance task an object.

    Attributes:
        value: What stands for it in label maps; of a region, where no later one covers it.
        name: Its name.
        colour: Its colour.
        members: All values that belong to it: of a region, also those of regions inside of it.
    """

    value: int
    name: str
    colour: Colour
    members: tuple[int, ...]


def class_labels(description: DatasetDescription) -> tuple[Label, ...]:
    """The classes of a data set in ascending order of their values; none in an instance task, which has objects."""
    if description.task == "instance":
        return ()
    values, members = description.foreground, description.regions
    labels = [
        Label(value, name, colour, members[name])
        for (name, value), colour in zip(values.items(), _colours(len(values)), strict=True)
    ]
    return tuple(sorted(labels, key=lambda label: label.value))


def labels_of(description: DatasetDescription, label_map: NDArray[np.integer[Any]]) -> tuple[Label, ...]:
    """The classes of a data set, or in an instance task the objects of a label map."""
    if description.task != "instance":
        return class_labels(description)
    kind = next(name for name, value in description.labels.items() if value == 1)
    values = sorted(set().union(*(np.unique(plane).tolist() for plane in label_map)) - {0})
    return tuple(
        Label(value, f"{kind} {value}", colour, (value,))
        for value, colour in zip(values, _colours(len(values)), strict=True)
    )


def _colours(count: int) -> list[Colour]:
    distinct = class_colours(min(count, _MOST_COLOURS))
    table = [(round(255 * red), round(255 * green), round(255 * blue)) for red, green, blue in distinct]
    return [table[number % _MOST_COLOURS] for number in range(count)]
