"""What a preview shows of a case: planes through its classes, and the classes seen from one side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.reports.orientation import View, upright

_MOST_VOXELS = 2**21
"""Number of voxels by which planes and the range of intensities are chosen; larger images are thinned out."""
_MOST_CLASSES = 4096
"""Number of labels up to which planes are chosen by their areas; more are taken together."""
_NAMES = {"S": "axial", "I": "axial", "A": "coronal", "P": "coronal", "L": "sagittal", "R": "sagittal"}


@dataclass(frozen=True)
class Panel:
    """A picture, upright.

    Attributes:
        title: What it shows.
        labels: Label values (rows, columns).
        size: Height and width in the unit of the spacing.
        edges: Letters of the patient's sides at the left, right, top and bottom edge; empty where they are unknown.
    """

    title: str
    labels: NDArray[Any]
    size: tuple[float, float]
    edges: str


@dataclass(frozen=True)
class Plane(Panel):
    """A slice of an image with its labels.

    Attributes:
        image: Intensities (rows, columns, 1 or 3).
        marks: The row and the column in which the other planes cut it, as fractions of height and width.
    """

    image: NDArray[Any]
    marks: tuple[float, float] | None = None


@dataclass(frozen=True)
class Surface(Panel):
    """Labels that are seen from one side.

    Attributes:
        depth: Their distance from the eye (rows, columns), in the unit of the spacing.
    """

    depth: NDArray[np.float32]


def volume_panels(
    image: NDArray[Any], labels: NDArray[Any], spacing: Sequence[float], letters: str, box: Sequence[slice] | None
) -> list[Panel]:
    """Three planes, and if there is a class, the classes as they are seen from the front.

    Args:
        image: (z, y, x), one channel.
        labels: Label values (z, y, x).
        spacing: Size of a voxel along z, y, x.
        letters: Sides of the patient to which these axes point (``array_letters``); empty where they are unknown.
        box: The smallest box around all classes; None where there is none.
    """
    order = [_axis(letters, pair, number) for number, pair in enumerate(("SI", "LR", "AP"))]
    chosen = [size // 2 for size in labels.shape] if box is None else telling_planes(labels, box)
    panels: list[Panel] = []
    for axis in order:
        view = upright(letters, axis)
        others = [other for other in range(3) if other != axis]
        name = f"{_NAMES[letters[axis]]}, " if letters else ""
        panels.append(
            Plane(
                title=f"{name}{'zyx'[axis]} = {chosen[axis]} of {labels.shape[axis]}",
                labels=view(labels.take(chosen[axis], axis)),
                size=_size(labels.shape, spacing, axis, view),
                edges=view.edges,
                image=view(image.take(chosen[axis], axis))[..., None],
                marks=_marks([(chosen[other] + 0.5) / labels.shape[other] for other in others], view),
            )
        )
    if box is not None:
        panels.append(_seen_from_the_front(labels, spacing, letters, order[2] if letters else 0, box))
    return panels


def flat_panels(image: NDArray[Any], labels: NDArray[Any], spacing: Sequence[float], letters: str) -> list[Panel]:
    """The image of a single slice, and beside it the image with its classes.

    Args:
        image: (1 or 3, y, x).
        labels: Label values (y, x).
        spacing: Size of a pixel along y and x.
        letters: As in :func:`volume_panels`.
    """
    view = upright(letters, 0)
    size = view.size((labels.shape[0] * spacing[0], labels.shape[1] * spacing[1]))
    shown = view(np.moveaxis(image, 0, -1))
    return [
        Plane(title=title, labels=view(values), size=size, edges=view.edges, image=shown)
        for title, values in (("image", np.zeros_like(labels)), ("prediction", labels))
    ]


def enclosing(boxes: NDArray[np.int64]) -> list[slice] | None:
    """The smallest box around others.

    Args:
        boxes: First index along z, y, x, and one behind the last, (n, 6).

    Returns:
        A slice per axis; None if there is no box.
    """
    if not len(boxes):
        return None
    starts, stops = boxes[:, :3].min(axis=0), boxes[:, 3:].max(axis=0)
    return [slice(int(start), int(stop)) for start, stop in zip(starts, stops, strict=True)]


def _axis(letters: str, pair: str, unknown: int) -> int:
    """The axis of the array along a pair of sides; where they are unknown, the axes in their order."""
    return next(axis for axis, letter in enumerate(letters) if letter in pair) if letters else unknown


def _size(shape: Sequence[int], spacing: Sequence[float], axis: int, view: View) -> tuple[float, float]:
    rows, columns = (shape[other] * spacing[other] for other in range(3) if other != axis)
    return view.size((rows, columns))


def _marks(fractions: Sequence[float], view: View) -> tuple[float, float]:
    """The place of the two other planes in a view, from their fractions along the rows and columns of the array."""
    rows, columns = view.size((fractions[0], fractions[1]))
    return 1 - rows if view.flipped[0] else rows, 1 - columns if view.flipped[1] else columns


def telling_planes(labels: NDArray[Any], box: Sequence[slice]) -> list[int]:
    """For each axis the plane that shows much of many classes: where the roots of their areas have the largest sum.

    Args:
        labels: Label values (z, y, x).
        box: The smallest box around all classes.
    """
    step = thinning([part.stop - part.start for part in box])
    thin = labels[tuple(slice(part.start, part.stop, step) for part in box)].astype(np.intp)
    classes = int(thin.max()) + 1
    if classes > _MOST_CLASSES:
        thin, classes = (thin > 0).astype(np.intp), 2
    chosen = []
    for axis, part in enumerate(box):
        planes = thin.shape[axis]
        place = np.arange(planes).reshape([planes if other == axis else 1 for other in range(3)])
        areas = np.bincount((thin + classes * place).ravel(), minlength=classes * planes).reshape(planes, classes)
        score = np.sqrt(areas[:, 1:]).sum(axis=1)
        chosen.append(part.start + step * int(score.argmax()))
    return chosen


def thinning(shape: Sequence[int]) -> int:
    """The step along every axis with which at most some millions of voxels are left."""
    axes = max(1, sum(size > 1 for size in shape))
    return max(1, math.ceil(math.pow(math.prod(shape) / _MOST_VOXELS, 1 / axes)))


def _seen_from_the_front(
    labels: NDArray[Any], spacing: Sequence[float], letters: str, axis: int, box: Sequence[slice]
) -> Surface:
    """The classes that are met first from the front of the patient, or from the first plane where that is unknown."""
    view = upright(letters, axis)
    # The front is where the axis ends if it points there.
    backwards = letters[axis : axis + 1] == "A"
    first, values = first_met(labels, axis, box, backwards)
    return Surface(
        title="from the front" if letters else f"from {'zyx'[axis]} = 0",
        labels=view(values),
        size=_size(labels.shape, spacing, axis, view),
        edges=view.edges,
        depth=view(first.astype(np.float32) * np.float32(spacing[axis])),
    )


def first_met(
    labels: NDArray[Any], axis: int, box: Sequence[slice], backwards: bool
) -> tuple[NDArray[np.intp], NDArray[Any]]:
    """The first labels along an axis.

    Args:
        labels: Label values (z, y, x).
        axis: The axis.
        box: The smallest box around all classes: nothing is looked at outside.
        backwards: Whether the last voxel comes first.

    Returns:
        For every line along the axis the number of voxels before the first label, and that label; 0 where there is
        none.
    """
    size = labels.shape[axis]
    shape = [length for other, length in enumerate(labels.shape) if other != axis]
    depth, values = np.zeros(shape, np.intp), np.zeros(shape, labels.dtype)
    within = tuple(part for other, part in enumerate(box) if other != axis)
    inside, near = values[within], depth[within]
    ahead = labels[tuple(box)]
    start = size - box[axis].stop if backwards else box[axis].start
    turned = np.flip(ahead, axis) if backwards else ahead
    if axis == 0:
        for number, plane in enumerate(turned, start=start):
            new = (plane != 0) & (inside == 0)
            inside[new] = plane[new]
            near[new] = number
        return depth, values
    # One plane of memory after the other; the lines lie within them.
    for number, plane in enumerate(turned):
        first = (plane != 0).argmax(axis=axis - 1)
        found = np.take_along_axis(plane, np.expand_dims(first, axis - 1), axis - 1).squeeze(axis - 1)
        inside[number] = found
        near[number] = np.where(found, first + start, 0)
    return depth, values
