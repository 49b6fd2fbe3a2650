"""``--statistics``: volume, place, intensity and pieces of every class or object of a case."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from umseg.dataset.dataset import Case
from umseg.dataset.description import DatasetDescription
from umseg.dataset.io.grid import Geometry
from umseg.dataset.io.orientation import stored_axes
from umseg.inference.confidence import case_confidence
from umseg.inference.outputs.case_output import SegmentedCase
from umseg.inference.outputs.statistics_measure import Measurements, class_table, measure_labels
from umseg.inference.outputs.statistics_records import (
    Box,
    CaseStatistics,
    ChannelStatistics,
    ClassStatistics,
    ObjectStatistics,
    PerAxis,
    Size,
)

FOLDER = "statistics"
"""The folder, in that of the predictions, with a file for each case."""


@dataclass(frozen=True)
class StatisticsOutput:
    """Writes ``statistics/CASE.json``.

    Attributes:
        classes: Names of the classes that are measured; None measures all.
    """

    classes: tuple[str, ...] | None = None

    program_bytes: ClassVar[int] = 0

    def files(self, case: Case, folder: Path) -> Sequence[Path]:
        """The file of a case."""
        return (statistics_file(case.id, folder),)

    def write(self, result: SegmentedCase, folder: Path) -> None:
        """Measure a case and write its file.

        Raises:
            UserError: The image cannot be read again, or the file cannot be written.
        """
        case_statistics(
            result.case.id,
            result.label_map,
            result.read_image(),
            result.geometry,
            result.description,
            axes=stored_axes(result.case.images[0], result.geometry),
            only=self.classes,
            confidence=result.confidence,
        ).save(statistics_file(result.case.id, folder))


def statistics_file(case: str, folder: Path) -> Path:
    """The file of a case's statistics in a folder of predictions."""
    return folder / FOLDER / f"{case}.json"


def case_statistics(
    case: str,
    label_map: NDArray[np.integer[Any]],
    image: NDArray[Any],
    geometry: Geometry,
    description: DatasetDescription,
    *,
    axes: str | None = None,
    only: Iterable[str] | None = None,
    confidence: Sequence[float] | None = None,
) -> CaseStatistics:
    """Measure all classes of a label map, or all objects of an instance map.

    Args:
        case: Name of the case.
        label_map: (z, y, x).
        image: (channels, z, y, x).
        geometry: The grid of both.
        description: Names of channels and classes.
        axes: Axis codes of the grid (``stored_axes``); None where its place in space is not known.
        only: Names of the classes that are measured; None measures all.
        confidence: How far several predictions agree on each foreground class, NaN where none has it.
    """
    place = _Place(geometry, axes is not None, tuple(description.channel_names.values()))
    classes: tuple[ClassStatistics, ...] = ()
    objects: tuple[ObjectStatistics, ...] = ()
    if description.task == "instance":
        objects = _measure_objects(label_map, image, place, description)
    else:
        chosen = description.regions if only is None else {name: description.regions[name] for name in only}
        classes = _with_confidence(_measure_classes(label_map, image, place, chosen), description, confidence)
    return CaseStatistics(
        case=case,
        size=Size(**place.named(geometry.size)),
        spacing=None if geometry.unit is None else PerAxis(**place.named(geometry.spacing)),
        unit=geometry.unit,
        axes=axes,
        connectivity=8 if place.is_flat else 26,
        classes=classes,
        objects=objects,
        confidence=None if confidence is None else case_confidence(confidence),
    )


def _with_confidence(
    classes: Sequence[ClassStatistics], description: DatasetDescription, confidence: Sequence[float] | None
) -> tuple[ClassStatistics, ...]:
    """The classes with what is known of their confidence."""
    if confidence is None:
        return tuple(classes)
    known = dict(zip(description.regions, confidence, strict=True))
    return tuple(
        entry if math.isnan(known[entry.name]) else entry.model_copy(update={"confidence": known[entry.name]})
        for entry in classes
    )


def _measure_classes(
    label_map: NDArray[np.integer[Any]], image: NDArray[Any], place: _Place, classes: Mapping[str, tuple[int, ...]]
) -> tuple[ClassStatistics, ...]:
    found = {}
    for layer in disjoint(classes):
        numbers = {name: number for number, name in enumerate(layer, start=1)}
        table = class_table({value: numbers[name] for name, values in layer.items() for value in values})
        measured = measure_labels(label_map, table, image)
        for name, number in numbers.items():
            values = layer[name]
            found[name] = ClassStatistics(
                name=name,
                value=values[0] if len(values) == 1 else values,
                components=int(measured.pieces[number]),
                largest_component_voxels=int(measured.largest[number]),
                **place.describe(measured, number),
            )
    return tuple(found[name] for name in classes)


def _measure_objects(
    label_map: NDArray[np.integer[Any]], image: NDArray[Any], place: _Place, description: DatasetDescription
) -> tuple[ObjectStatistics, ...]:
    name = next(name for name in description.labels if name != "background")
    table = np.arange(int(label_map.max(initial=0)) + 1, dtype=np.int32)
    measured = measure_labels(label_map, table, image)
    return tuple(
        ObjectStatistics(
            name=name, value=number, **place.diameters(measured, number), **place.describe(measured, number)
        )
        for number in map(int, np.flatnonzero(measured.voxels))
    )


def disjoint(classes: Mapping[str, tuple[int, ...]]) -> list[dict[str, tuple[int, ...]]]:
    """The classes in as few groups as they come to in their order, in each of which no two have a value in common."""
    groups: list[dict[str, tuple[int, ...]]] = []
    for name, values in classes.items():
        fitting = (group for group in groups if not {v for other in group.values() for v in other} & set(values))
        group = next(fitting, None)
        if group is None:
            groups.append(group := {})
        group[name] = values
    return groups


T = TypeVar("T")


@dataclass(frozen=True)
class _Place:
    """What turns numbers of voxels into lengths and places.

    Attributes:
        geometry: The grid.
        placed: Whether the file says where the grid lies in space.
        channels: Names of the channels.
    """

    geometry: Geometry
    placed: bool
    channels: tuple[str, ...]

    @property
    def is_flat(self) -> bool:
        """Whether there is a single slice."""
        return self.geometry.shape[0] == 1

    @property
    def voxel(self) -> float | None:
        """mm3 of a voxel, or mm2 in a single slice; None where the size of a voxel is not known."""
        return math.prod(self.geometry.spacing[: 2 if self.is_flat else 3]) if self.geometry.unit == "mm" else None

    def named(self, values: Iterable[T]) -> dict[str, T]:
        """Values along x, y and, in 3-D files, z, by the names of these axes."""
        return dict(zip("xyz"[: self.geometry.dimensions], values, strict=False))

    def describe(self, measured: Measurements, number: int) -> dict[str, Any]:
        """The fields of ``StructureStatistics`` but name and value."""
        voxels = int(measured.voxels[number])
        size = None if self.voxel is None else voxels * self.voxel
        fields: dict[str, Any] = {
            "voxels": voxels,
            "volume_ml": None if size is None or self.is_flat else size / 1000,
            "area_mm2": size if self.is_flat else None,
        }
        if not voxels:
            nothing = dict.fromkeys(("box", "extent_mm", "centroid", "centroid_ras_mm"))
            return fields | nothing | {"touches_border": False, "intensities": ()}
        starts, stops = (measured.boxes[number, part].tolist()[::-1] for part in (slice(0, 3), slice(3, 6)))
        index = measured.centroids[number, ::-1].tolist()
        return fields | {
            "box": Box(**self.named(zip(starts, stops, strict=True))),
            "extent_mm": self._extent(starts, stops),
            "centroid": PerAxis(**self.named(index)),
            "centroid_ras_mm": self._in_space(index),
            "touches_border": self._touches(starts, stops),
            "intensities": self._intensities(measured, number),
        }

    def diameters(self, measured: Measurements, number: int) -> dict[str, float | None]:
        """Diameters of the circle or ball of the same size."""
        voxels = int(measured.voxels[number])
        in_mm = None if self.voxel is None else self._diameter(voxels * self.voxel)
        return {"diameter_px": self._diameter(voxels), "diameter_mm": in_mm}

    def _diameter(self, size: float) -> float:
        return 2 * math.sqrt(size / math.pi) if self.is_flat else (6 * size / math.pi) ** (1 / 3)

    def _extent(self, starts: Sequence[int], stops: Sequence[int]) -> PerAxis | None:
        if self.geometry.unit != "mm":
            return None
        voxels = (stop - start for start, stop in zip(starts, stops, strict=True))
        return PerAxis(**self.named(n * step for n, step in zip(voxels, self.geometry.spacing, strict=False)))

    def _in_space(self, index: Sequence[float]) -> tuple[float, float, float] | None:
        if not self.placed:
            return None
        left, back, top = index_to_lps(self.geometry, index)
        return -left, -back, top

    def _touches(self, starts: Sequence[int], stops: Sequence[int]) -> bool:
        size = self.geometry.shape[::-1]
        return any(n > 1 and (start == 0 or stop == n) for start, stop, n in zip(starts, stops, size, strict=True))

    def _intensities(self, measured: Measurements, number: int) -> tuple[ChannelStatistics, ...]:
        rows = zip(self.channels, measured.intensities[:, number].tolist(), strict=True)
        return tuple(
            ChannelStatistics(channel=name, min=low, max=high, mean=mean, sd=sd) for name, (low, high, mean, sd) in rows
        )


def index_to_lps(geometry: Geometry, index: Sequence[float]) -> tuple[float, float, float]:
    """The place of an index (x, y, z) of a 3-D grid in mm, in the coordinates of DICOM and ITK."""
    steps = np.asarray(index) * np.asarray(geometry.spacing)
    left, back, top = np.asarray(geometry.origin) + np.reshape(geometry.direction, (3, 3)) @ steps
    return float(left), float(back), float(top)
