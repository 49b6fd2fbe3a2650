"""Post-processing of label maps of classes: largest components, small objects and holes.

Components are connected over faces, edges and corners, holes over faces. Sizes are volumes, so that a rule means the
same for images of every spacing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import ndimage

from umseg.common.record import Record
from umseg.common.text import few
from umseg.dataset.description import ShownName

Labels = TypeVar("Labels", bound=np.integer[Any])

Boxes = Sequence[tuple[slice, ...] | None]


class ClassRule(Record):
    """What is done to one class, in this order.

    Attributes:
        largest: Whether only the largest component is kept; of several of that size, all.
        smallest: Volume of the smallest component that is kept, mm³ (voxels where the size of voxels is not known);
            0 keeps all.
        fill_holes: Whether background that the class encloses becomes part of it. Other classes inside it stay.
    """

    largest: bool = False
    smallest: Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False)] = 0
    fill_holes: bool = False

    @property
    def changes_nothing(self) -> bool:
        """Whether the class stays as it is."""
        return not (self.largest or self.smallest or self.fill_holes)


class ClassCleaning(Record):
    """How a label map of classes is cleaned.

    Attributes:
        largest_foreground: Whether, before all else, only the largest component of all classes together is kept.
        classes: Class name to its rule; classes that stay as they are may be left out.
    """

    largest_foreground: bool = False
    classes: dict[ShownName, ClassRule] = Field(default_factory=dict, max_length=2**15)

    @property
    def changes_nothing(self) -> bool:
        """Whether every label map stays as it is."""
        return not self.largest_foreground and all(rule.changes_nothing for rule in self.classes.values())

    def apply(self, label_map: NDArray[Labels], values: Mapping[str, int], spacing: Sequence[float]) -> NDArray[Labels]:
        """The cleaned label map.

        Args:
            label_map: (z, y, x), 0 in the background.
            values: Class name to its value in label maps.
            spacing: Size of a voxel along z, y, x, mm.

        Returns:
            The same shape and type: a new array, or the given one if nothing changes.
        """
        if self.changes_nothing:
            return label_map
        cleaned: NDArray[Labels] = label_map.copy()
        if self.largest_foreground:
            _keep_largest_foreground(cleaned)
        boxes = ndimage.find_objects(cleaned, max_label=max(values.values(), default=0))
        for name, rule in self.classes.items():
            box = boxes[values[name] - 1] if name in values else None
            if box is not None:
                _clean_class(cleaned[with_margin(box, cleaned.shape)], values[name], rule, math.prod(spacing))
        return cleaned


def described(cleaning: ClassCleaning) -> str:
    """What a cleaning does, in words; it must change something."""
    parts = ["only the largest connected foreground is kept"] if cleaning.largest_foreground else []
    rules = {name: rule for name, rule in cleaning.classes.items() if not rule.changes_nothing}
    if largest := [name for name, rule in rules.items() if rule.largest]:
        parts.append(f"only the largest component is kept of {few(largest)}")
    if small := [f"{name} ({rule.smallest:g} mm³)" for name, rule in rules.items() if rule.smallest]:
        parts.append(f"smaller components are removed of {few(small)}")
    if filled := [name for name, rule in rules.items() if rule.fill_holes]:
        parts.append(f"holes are filled in {few(filled)}")
    return "; ".join(parts)


def components(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
    """The components of a mask, connected over faces, edges and corners.

    Args:
        mask: (z, y, x).

    Returns:
        Their numbers 1, 2, ... at every voxel, 0 outside, and the voxels of each; the first entry is 0.
    """
    numbers, count = ndimage.label(mask, structure=np.ones((3, 3, 3), dtype=np.bool_))
    sizes = np.bincount(numbers.reshape(-1), minlength=count + 1)
    sizes[0] = 0
    return numbers, sizes


def holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The voxels that a mask encloses; an axis of one voxel has no border, so that a slice is seen as a picture.

    Args:
        mask: (z, y, x).
    """
    flat = mask.squeeze()
    filled = ndimage.binary_fill_holes(flat) if flat.ndim else flat
    found: NDArray[np.bool_] = filled.reshape(mask.shape) & ~mask
    return found


def with_margin(box: Sequence[slice], shape: Sequence[int]) -> tuple[slice, ...]:
    """A box with one voxel more on every side, inside of an array of this shape."""
    return tuple(slice(max(side.start - 1, 0), min(side.stop + 1, size)) for side, size in zip(box, shape, strict=True))


def _keep_largest_foreground(label_map: NDArray[Any]) -> None:
    """Set everything else to 0, in place."""
    numbers, sizes = components(label_map > 0)
    removed = sizes < sizes.max()
    label_map[removed[numbers]] = 0


def _clean_class(part: NDArray[Any], value: int, rule: ClassRule, voxel_volume: float) -> None:
    """Clean one class in a part of the label map that contains it, in place."""
    mask = part == value
    if rule.largest or rule.smallest:
        numbers, sizes = components(mask)
        removed = sizes * voxel_volume < rule.smallest
        if rule.largest:
            removed |= sizes < sizes.max()
        removed[0] = False
        part[removed[numbers]] = 0
        mask = part == value
    if rule.fill_holes:
        part[holes(mask) & (part == 0)] = value
