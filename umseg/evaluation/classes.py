"""The classes that are scored: single values, regions of several values, and the value of unannotated voxels."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.common.registry import unknown_name
from umseg.common.text import few
from umseg.evaluation.records import Label
from umseg.kernels.labels.joint import count_jointly

Tolerance = float | Sequence[float] | Mapping[str, float]
"""Tolerance of the NSD: one for all classes, one per class in their order, or by class name."""

TOLERANCE = 1.0
"""Tolerance of the NSD, mm or pixels, where none is given."""

MASK_REMEDY = "A mask that is stored as 0 and 255 has to be saved with the value of its class, e.g. as 0 and 1."

# The largest number of 16 bits. Larger values are not classes but damage, or numbers of instances.
_HIGHEST_LABEL = 65535


@dataclass(frozen=True)
class Classes:
    """The classes of label maps.

    Attributes:
        values: Class name to its label values, in both label maps.
        ignore_label: Value of the reference's voxels that nobody annotated: they are left out.
    """

    values: Mapping[str, tuple[int, ...]]
    ignore_label: int | None = None

    @property
    def labels(self) -> dict[str, Label]:
        """Class name to its value, or to its values if it is a region."""
        return {name: values[0] if len(values) == 1 else values for name, values in self.values.items()}

    def check(self, found: Collection[int], path: Path, *, is_reference: bool) -> None:
        """Raise a UserError if the values of a label map belong to no class."""
        names = {value: name for name, values in self.values.items() for value in values}
        if is_reference and self.ignore_label is not None:
            names[self.ignore_label] = "ignore"
        unknown = sorted(set(found) - {0} - set(names))
        if unknown:
            raise UserError(
                "A label map has values that have no label.",
                file=path,
                found=few(str(value) for value in unknown),
                expected="0 (background), " + ", ".join(f"{value} ({name})" for value, name in sorted(names.items())),
                remedy=MASK_REMEDY if unknown == [255] else "Correct the label map, or add its values to the labels.",
            )


def make_classes(labels: Mapping[str, int | Collection[int]], ignore_label: int | None, reference: Path) -> Classes:
    """Check the labels and leave out the background.

    Args:
        labels: Class name to label value, or to the values of a region.
        ignore_label: Value of the reference's voxels that nobody annotated.
        reference: Folder of the references, for the message.

    Returns:
        Classes of one value in ascending order; with regions, all in the order of ``labels``.

    Raises:
        UserError: There is no class, or a value is not valid.
    """
    values = {name: (label,) if isinstance(label, int) else tuple(label) for name, label in labels.items()}
    values = {name: entry for name, entry in values.items() if entry != (0,)}
    if not values:
        raise UserError(
            "There is no class to evaluate.",
            file=reference,
            found="only background",
            expected="at least one label apart from the background",
            remedy="Check that these are the right folders, or give the labels.",
        )
    if all(len(entry) == 1 for entry in values.values()):
        values = dict(sorted(values.items(), key=lambda item: item[1]))
    used = {value for entry in values.values() for value in entry}
    repeated = len(set(values.values())) < len(values) or any(len(set(entry)) < len(entry) for entry in values.values())
    if repeated or () in values.values() or not all(1 <= value <= _HIGHEST_LABEL for value in used):
        raise UserError(
            "The labels are not valid.",
            found=", ".join(f"{name} = {labels[name]}" for name in values),
            expected=f"different whole numbers from 1 to {_HIGHEST_LABEL} for each class",
            remedy="Correct the labels.",
        )
    if ignore_label is not None and (ignore_label in used or not 1 <= ignore_label <= _HIGHEST_LABEL):
        raise UserError(
            "The ignore label is not valid.",
            found=str(ignore_label),
            expected=f"a whole number from 1 to {_HIGHEST_LABEL} that no class has",
            remedy="Correct the ignore label.",
        )
    return Classes(values, ignore_label)


def class_tolerances(tolerance: Tolerance, classes: Classes) -> dict[str, float]:
    """Class name to tolerance of the NSD, from one tolerance for all classes, one for each, or some by name.

    Raises:
        UserError: There are too few or too many tolerances, one is negative or infinite, or a name is no class.
    """
    if isinstance(tolerance, Mapping):
        for name in tolerance:
            if name not in classes.values:
                raise unknown_name("class", name, classes.values, "--tolerance")
        tolerance = [tolerance.get(name, TOLERANCE) for name in classes.values]
    values = [float(entry) for entry in tolerance] if isinstance(tolerance, Sequence) else [float(tolerance)]
    if len(values) == 1:
        values *= len(classes.values)
    if len(values) != len(classes.values) or not all(value >= 0 and math.isfinite(value) for value in values):
        raise UserError(
            "The tolerances of the NSD are not valid.",
            found=", ".join(f"{value:g}" for value in values),
            expected=f"numbers of at least 0: one for all classes, or one for each of {', '.join(classes.values)}",
            remedy="Correct the tolerances.",
        )
    return dict(zip(classes.values, values, strict=True))


def values_of(array: NDArray[np.integer[Any]]) -> frozenset[int]:
    """All values of a label map."""
    return frozenset(count_jointly(array, array).first.tolist())
