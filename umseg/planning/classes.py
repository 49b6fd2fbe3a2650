"""How large the classes of a data set are, and how many cases have them: what a user wants to know before training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.common.record import Record
from umseg.dataset.description import DatasetDescription


class ClassStatistics(Record):
    """One class over the cases that have it.

    Attributes:
        cases: How many cases have it.
        median_size: Volume in mm³; area in mm² (or pixels, where images have no physical size) of 2-D images.
        min_size: Of the case with least of it.
        max_size: Of the case with most of it.
        median_objects: Objects per case, in an instance task.
    """

    cases: int
    median_size: float
    min_size: float
    max_size: float
    median_objects: float | None = None


@dataclass(frozen=True)
class ClassSizes:
    """One case.

    Attributes:
        sizes: Class name to volume or area; 0 for a class that the case does not have.
        objects: Number of objects, in an instance task.
    """

    sizes: dict[str, float]
    objects: int | None


def measure_classes(
    label: NDArray[np.integer[Any]], spacing: Sequence[float], description: DatasetDescription
) -> ClassSizes:
    """Measure the classes of one case.

    Args:
        label: (z, y, x).
        spacing: mm per axis. An axis of one voxel has no extent: the size is then an area.
        description: Says which values a class is made of.
    """
    voxel = math.prod(size for size, voxels in zip(spacing, label.shape, strict=True) if voxels > 1)
    if description.task == "instance":
        numbers = np.unique(label[label > 0])
        (name,) = (name for name, value in description.labels.items() if value != 0)
        return ClassSizes({name: voxel * int(np.count_nonzero(label))}, numbers.size)
    counts = np.zeros(max(description.label_values or (0,)) + 1, dtype=np.int64)
    # Slice by slice: counting widens its input to 64 bits.
    for plane in label:
        counts += np.bincount(plane.ravel(), minlength=counts.size)
    return ClassSizes(
        {name: voxel * int(counts[list(values)].sum()) for name, values in description.regions.items()}, None
    )


def describe_classes(cases: Sequence[ClassSizes]) -> dict[str, ClassStatistics]:
    """Class name to its statistics, classes in the order of the description; all 0 for one that no case has."""
    statistics = {}
    for name in cases[0].sizes:
        sizes = [case.sizes[name] for case in cases if case.sizes[name] > 0]
        objects = [case.objects for case in cases if case.objects]
        statistics[name] = ClassStatistics(
            cases=len(sizes),
            median_size=float(np.median(sizes)) if sizes else 0,
            min_size=min(sizes, default=0),
            max_size=max(sizes, default=0),
            median_objects=float(np.median(objects)) if objects else None,
        )
    return statistics
