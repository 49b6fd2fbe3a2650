"""``--classes``: label maps of some of the classes alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.common.registry import unknown_name
from umseg.common.text import with_commas
from umseg.dataset.description import DatasetDescription

_OPTION = "--classes"


@dataclass(frozen=True)
class ClassChoice:
    """The classes that are kept.

    Attributes:
        names: Their names, in the order of the data set.
        values: The values that label maps keep, in ascending order: all values of a region.
    """

    names: tuple[str, ...]
    values: tuple[int, ...]

    def apply(self, label_map: NDArray[np.integer[Any]]) -> NDArray[np.integer[Any]]:
        """A label map (z, y, x) in which the voxels of all other classes are background, 0."""
        kept = np.zeros_like(label_map)
        # Plane by plane: indexing with a whole volume would take eight bytes for each of its voxels.
        table = np.zeros(int(label_map.max(initial=0)) + 1, label_map.dtype)
        values = [value for value in self.values if value < len(table)]
        table[values] = values
        for source, target in zip(label_map, kept, strict=True):
            target[:] = table[source]
        return kept


def choose_classes(text: str, description: DatasetDescription) -> ClassChoice:
    """The classes of a list such as ``liver,spleen`` or ``liver,3``.

    Args:
        text: Names, or values that label maps have, separated by commas. The value of a region is the one that is
            written for it (``regions_class_order``).
        description: The classes that the model tells apart.

    Raises:
        UserError: A name or value is no class, none is given, or the model tells objects apart.
    """
    if description.task == "instance":
        raise UserError(
            f"{_OPTION} cannot be used with this model.",
            found="a model that finds single objects of one kind",
            expected="a model of several classes",
            remedy=f"Leave out {_OPTION}.",
        )
    classes, regions = description.foreground, description.regions
    by_value = {str(value): name for name, value in classes.items()}
    wanted = set()
    for name in with_commas([part.strip() for part in text.split(",") if part.strip()], classes):
        if name not in classes and name not in by_value:
            raise unknown_name("class", name, classes, _OPTION)
        wanted.add(name if name in classes else by_value[name])
    if not wanted:
        raise UserError(
            f"{_OPTION} names no class.",
            expected=", ".join(classes),
            remedy="Name at least one class, or leave out the option.",
        )
    names = tuple(name for name in regions if name in wanted)
    return ClassChoice(names, tuple(sorted({value for name in names for value in regions[name]})))
