"""What the preview of a case has in it: panels, colours, and a legend of the largest classes."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.common.text import counted
from umseg.dataset.description import DatasetDescription
from umseg.dataset.io.grid import Geometry
from umseg.inference.outputs.labels import Label, labels_of
from umseg.inference.outputs.statistics_measure import class_table, measure_labels
from umseg.reports.orientation import array_letters
from umseg.reports.preview.colouring import intensity_window
from umseg.reports.preview.planes import Panel, enclosing, flat_panels, volume_panels

_TIMES = "\N{MULTIPLICATION SIGN}"
MOST_ENTRIES = 20
"""Number of classes that the legend names."""


@dataclass(frozen=True)
class Entry:
    """A row of the legend: the colour of a class from 0 to 1, its name, and how much of it there is."""

    colour: tuple[float, float, float]
    name: str
    amount: str


@dataclass(frozen=True)
class Preview:
    """What is drawn.

    Attributes:
        title: Name of the case.
        subtitle: Size of the image, and how much was found.
        panels: The panels.
        colours: Red, green and blue of every label value, from 0 to 1; black for values that are not shown.
        window: Intensities that are shown as black and as white.
        legend: The largest classes.
        note: How many more there are.
    """

    title: str
    subtitle: str
    panels: Sequence[Panel]
    colours: NDArray[np.float32]
    window: tuple[float, float]
    legend: Sequence[Entry]
    note: str


def make_preview(
    case: str,
    label_map: NDArray[np.integer[Any]],
    image: NDArray[Any],
    geometry: Geometry,
    description: DatasetDescription,
    *,
    axes: str | None = None,
    only: Collection[str] | None = None,
) -> Preview:
    """Choose what is shown of a case.

    Args:
        case: Name of the case.
        label_map: (z, y, x), without values of classes that are not shown.
        image: (channels, z, y, x).
        geometry: The grid of both.
        description: Names of the classes.
        axes: Axis codes of the grid (``stored_axes``); None where its place in space is not known.
        only: Names of the classes that are shown; None shows all.
    """
    labels = [label for label in labels_of(description, label_map) if only is None or label.name in only]
    owners = _owners(labels)
    measured = measure_labels(label_map, class_table({value: value for value in owners}))
    box = enclosing(measured.boxes[measured.voxels > 0])
    spacing = (1.0,) * 3 if geometry.unit is None else tuple(reversed(geometry.spacing))
    letters = array_letters(axes)
    if geometry.shape[0] == 1:
        image = image[:3] if len(image) == 3 else image[:1]
        panels = flat_panels(image[:, 0], label_map[0], spacing[-2:], letters)
    else:
        image = image[:1]
        panels = volume_panels(image[0], label_map, spacing, letters, box)
    counts = {label: sum(int(measured.voxels[value]) for value in label.members) for label in labels}
    found = sorted((label for label in labels if counts[label]), key=lambda label: -counts[label])
    listed = [] if description.task == "instance" else found[:MOST_ENTRIES]
    return Preview(
        title=case,
        subtitle=f"{_size(geometry)}: {_summary(len(found), len(labels), description)}",
        panels=panels,
        colours=_colours(owners, int(label_map.max(initial=0))),
        window=intensity_window(image, label_map, box or [slice(0, size) for size in label_map.shape]),
        legend=[Entry(_fractions(label), label.name, _amount(counts[label], geometry)) for label in listed],
        note=f"and {len(found) - MOST_ENTRIES:,} more" if listed and len(found) > MOST_ENTRIES else "",
    )


def _owners(labels: Sequence[Label]) -> dict[int, Label]:
    """The label by whose colour each value is shown: its own, or else that of a region around it."""
    around = {value: label for label in labels for value in label.members}
    return around | {label.value: label for label in labels}


def _colours(owners: Mapping[int, Label], highest: int) -> NDArray[np.float32]:
    colours = np.zeros((max(highest, *owners, 0) + 1, 3), np.float32)
    for value, label in owners.items():
        colours[value] = _fractions(label)
    return colours


def _fractions(label: Label) -> tuple[float, float, float]:
    red, green, blue = label.colour
    return red / 255, green / 255, blue / 255


def _summary(found: int, known: int, description: DatasetDescription) -> str:
    if description.task == "instance":
        kind = next(name for name in description.labels if name != "background")
        return f"{counted(found, 'object')} ({kind})"
    return f"{found:,} of {counted(known, 'class', 'classes')}"


def _amount(voxels: int, geometry: Geometry) -> str:
    if geometry.unit != "mm":
        return f"{voxels:,} px"
    if geometry.shape[0] == 1:
        return f"{_digits(voxels * math.prod(geometry.spacing[:2]))} mm²"
    return f"{_digits(voxels * math.prod(geometry.spacing) / 1000)} ml"


def _digits(value: float) -> str:
    """Three digits that count, and no fewer than there are before the point."""
    return f"{value:,.{max(0, 2 - math.floor(math.log10(value)))}f}"


def _size(geometry: Geometry) -> str:
    steps = "" if geometry.unit is None else f" of {_by(f'{step:.3g}' for step in geometry.spacing)} {geometry.unit}"
    return f"{_by(map(str, geometry.size))} {'pixels' if geometry.dimensions == 2 else 'voxels'}{steps}"


def _by(sizes: Iterable[str]) -> str:
    return f" {_TIMES} ".join(sizes)
