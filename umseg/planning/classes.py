"""Sizes of the classes of a data set, and the number of cases that have them, to be read before training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from umseg.common.record import Record
from umseg.dataset.description import DatasetDescription

ClassSize = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class ClassStatistics(Record):
    """One class over the cases that have it.

    Attributes:
        cases: Number of cases that have the class.
        median_size: Median volume in mm³; for 2-D images the area in mm² (in pixels, where images have no physical
            size).
        min_size: Size in the case with the least of the class.
        max_size: Size in the case with the most of the class.
        median_objects: Median number of objects per case, in an instance task.
    """

    cases: Annotated[int, Field(ge=0)]
    median_size: ClassSize
    min_size: ClassSize
    max_size: ClassSize
    median_objects: ClassSize | None = None


@dataclass(frozen=True)
class ClassSizes:
    """The sizes of the classes in one case.

    Attributes:
        sizes: Volume or area by class name; 0 for a class that the case does not have.
        objects: Number of objects, in an instance task.
    """

    sizes: dict[str, float]
    objects: int | None


def measure_classes(
    label: NDArray[np.integer[Any]], spacing: Sequence[float], description: DatasetDescription
) -> ClassSizes:
    """Measure the classes of one case.

    Args:
        label: Label map, (z, y, x).
        spacing: Voxel size in mm per axis. An axis of one voxel has no extent, so that the size is an area.
        description: Description of the data set, which lists the values of each class.
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
    """Statistics by class name, in the order of the description; they are 0 for a class that no case has."""
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
