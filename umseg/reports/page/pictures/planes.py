"""The planes of a case, in layers that a reader switches between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from umseg.dataset.description import DatasetDescription
from umseg.reports.orientation import upright
from umseg.reports.page.pictures.layers import class_errors, error_layer, image_layer, label_layer, object_errors
from umseg.reports.preview.colouring import intensity_window
from umseg.reports.preview.planes import telling_planes

_NAMES = {"S": "axial", "I": "axial", "A": "coronal", "P": "coronal", "L": "sagittal", "R": "sagittal"}
_SIDES = (512, 384, 320, 256, 200, 160, 128, 96, 72, 56, 40)
"""Pixels of the longer side of a plane that are tried, until a case takes no more than its share of the page."""
_FINE = 240
"""Label layers of small planes have about so many pixels, for thin outlines."""
_MARGIN = 0.2
"""Part of the size of the classes that is shown around them."""
_LEAST_MARGIN = 8


@dataclass(frozen=True)
class Maps:
    """The arrays of a case on one grid.

    Attributes:
        image: (channels, z, y, x).
        reference: Label values (z, y, x); None where there is no reference.
        predictions: Label values (z, y, x) by source; None where a source has no prediction of the case.
        spacing: Size of a voxel along z, y, x.
        letters: Sides of the patient to which the axes point (``array_letters``); empty where they are unknown.
        description: Names and values of the classes; None where they are unknown.
        threshold: Smallest IoU of two objects that match, in an instance task.
    """

    image: NDArray[Any]
    reference: NDArray[Any] | None
    predictions: tuple[NDArray[Any] | None, ...]
    spacing: tuple[float, float, float]
    letters: str
    description: DatasetDescription | None
    threshold: float = 0.5

    @property
    def label_maps(self) -> list[NDArray[Any]]:
        """All label maps that there are."""
        return [labels for labels in (self.reference, *self.predictions) if labels is not None]

    @property
    def has_objects(self) -> bool:
        """Whether label values number objects."""
        return self.description is not None and self.description.task == "instance"


@dataclass(frozen=True)
class PlanePicture:
    """A plane in layers.

    Attributes:
        title: Which plane it is.
        place: Which slice it is, as in "z = 14 of 32"; empty for an image of a single slice.
        ratio: Width over height, in the unit of the spacing.
        layers: ``image``, ``reference``, ``prediction-N`` and ``error-N`` of the Nth source, as data URIs.
        edges: Letters of the patient's sides at the left, right, top and bottom edge; empty where they are unknown.
        smooth: Whether the image has fewer pixels than a screen shows, so that it is smoothed.
    """

    title: str
    place: str
    ratio: float
    layers: Mapping[str, str]
    edges: str = ""
    smooth: bool = True

    @property
    def size(self) -> int:
        """Characters in the page."""
        return sum(map(len, self.layers.values()))


@dataclass(frozen=True)
class CasePictures:
    """What a page shows of a case.

    Attributes:
        planes: The planes.
        volumes: ``image``, ``reference`` and ``prediction-N`` as NIfTI files in base64; empty where none is shown.
        note: What the reader should know, e.g. why there is no picture.
    """

    planes: tuple[PlanePicture, ...] = ()
    volumes: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


def colour_numbers(description: DatasetDescription | None, highest: int) -> NDArray[np.intp]:
    """The number of the colour of every label value up to ``highest``, from 1; 0 for what is not shown."""
    numbers = np.arange(highest + 1)
    if description is None or description.task == "instance":
        return numbers
    numbers = np.zeros(max(highest, *description.foreground_values) + 1, np.intp)
    order = {name: place for place, name in enumerate(description.regions, start=1)}
    for name, members in description.regions.items():
        numbers[list(members)] = order[name]
    for name, value in description.foreground.items():
        numbers[value] = order[name]
    return numbers[: highest + 1]


def draw_planes(maps: Maps, budget: int) -> tuple[PlanePicture, ...]:
    """Three planes through what differs most, or else through the classes; of a 2-D image the whole.

    Args:
        maps: The case.
        budget: Characters that its pictures may take; the smallest pictures are made even if they take more.
    """
    errors = _errors(maps)
    box = shown_box(maps)
    window = _window(maps, box)
    if maps.image.shape[1] == 1:
        choices = [(0, 0)]
    else:
        places = _places(maps, errors, box)
        order = [_axis(maps.letters, pair, number) for number, pair in enumerate(("SI", "LR", "AP"))]
        choices = [(axis, places[axis]) for axis in order]
    planes: tuple[PlanePicture, ...] = ()
    for side in _SIDES:
        planes = tuple(_plane(maps, errors, box, window, axis, place, side) for axis, place in choices)
        if sum(plane.size for plane in planes) <= budget:
            break
    return planes


def shown_box(maps: Maps) -> tuple[slice, slice, slice]:
    """The box around all classes with a margin; the whole image where it has no class, or a single slice."""
    whole = tuple(slice(0, size) for size in maps.image.shape[1:])
    if maps.image.shape[1] == 1 or not any(labels.any() for labels in maps.label_maps):
        z, y, x = whole
        return z, y, x
    parts = []
    for axis, size in enumerate(maps.image.shape[1:]):
        others = tuple(other for other in range(3) if other != axis)
        used = np.flatnonzero(np.any([labels.any(axis=others) for labels in maps.label_maps], axis=0))
        first, last = int(used[0]), int(used[-1]) + 1
        margin = max(_LEAST_MARGIN, round(_MARGIN * (last - first)))
        parts.append(slice(max(0, first - margin), min(size, last + margin)))
    return parts[0], parts[1], parts[2]


def _errors(maps: Maps) -> list[NDArray[np.uint8] | None]:
    """The error map of every source; None where there is no reference or no prediction."""
    reference = maps.reference
    if reference is None:
        return [None for _ in maps.predictions]
    ignored = None if maps.description is None else maps.description.ignore_label
    return [
        None
        if labels is None
        else object_errors(labels, reference, maps.threshold)
        if maps.has_objects
        else class_errors(labels, reference, ignored)
        for labels in maps.predictions
    ]


def _places(maps: Maps, errors: Sequence[NDArray[np.uint8] | None], box: Sequence[slice]) -> list[int]:
    """The number of the plane along each axis: where the first source errs most, or else where the classes are."""
    told = next((found for found in errors if found is not None and found.any()), None)
    shown = told if told is not None else next((labels for labels in maps.label_maps if labels.any()), None)
    if shown is None:
        return [size // 2 for size in maps.image.shape[1:]]
    return telling_planes(shown, box)


def _window(maps: Maps, box: Sequence[slice]) -> tuple[float, float]:
    labels = np.zeros(maps.image.shape[1:], np.bool_)
    for known in maps.label_maps:
        labels |= known > 0
    low, high = intensity_window(maps.image, labels, box)
    return low, high if high > low else low + 1


def _axis(letters: str, pair: str, unknown: int) -> int:
    return next(axis for axis, letter in enumerate(letters) if letter in pair) if letters else unknown


def _plane(
    maps: Maps,
    errors: Sequence[NDArray[np.uint8] | None],
    box: Sequence[slice],
    window: tuple[float, float],
    axis: int,
    place: int,
    side: int,
) -> PlanePicture:
    view = upright(maps.letters, axis)
    others = [other for other in range(3) if other != axis]
    inside = tuple(box[other] for other in others)
    rows, columns = ((part.stop - part.start) * maps.spacing[other] for part, other in zip(inside, others, strict=True))
    height, width = view.size((rows, columns))
    channels = maps.image[:3] if maps.image.shape[1] == 1 and len(maps.image) == 3 else maps.image[:1]
    image = view(np.moveaxis(channels.take(place, axis + 1), 0, -1)[inside])
    step = max(1, -(-max(image.shape[:2]) // side))
    layers = {"image": image_layer(_eight_bits(image, window, step))}

    def cut(labels: NDArray[Any]) -> NDArray[Any]:
        return view(labels.take(place, axis)[inside])[::step, ::step]

    finer = max(1, _FINE // max(-(-size // step) for size in image.shape[:2])) if side >= _FINE else 1
    named = {"reference": maps.reference} | {f"prediction-{n}": labels for n, labels in enumerate(maps.predictions)}
    for name, labels in named.items():
        if labels is not None:
            shown = cut(labels)
            layers[name] = label_layer(colour_numbers(maps.description, int(shown.max(initial=0)))[shown], finer)
    for number, found in enumerate(errors):
        if found is not None:
            layers[f"error-{number}"] = error_layer(cut(found), finer)
    smooth = max(image.shape[:2]) // step < _FINE
    return PlanePicture(*_names(maps, axis, place), width / height, layers, view.edges, smooth)


def _names(maps: Maps, axis: int, place: int) -> tuple[str, str]:
    """The names of a plane and of its slice."""
    size = maps.image.shape[1:][axis]
    if size == 1:
        return "image", ""
    return _NAMES[
        maps.letters[axis]
    ] if maps.letters else f"plane {'zyx'[axis]}", f"{'zyx'[axis]} = {place + 1} of {size}"


def _eight_bits(image: NDArray[Any], window: tuple[float, float], step: int) -> NDArray[np.uint8]:
    """Intensities (rows, columns, 1 or 3) from 0 to 255, with means of ``step`` x ``step`` pixels."""
    low, high = window
    scaled = np.clip((image.astype(np.float32) - low) * (255 / (high - low)), 0, 255)
    pixels: NDArray[np.uint8] = np.round(scaled).astype(np.uint8)
    if step == 1:
        return pixels
    size = tuple(-(-length // step) for length in pixels.shape[:2])
    layers = [
        np.asarray(Image.fromarray(np.ascontiguousarray(pixels[..., channel])).reduce(step))[: size[0], : size[1]]
        for channel in range(pixels.shape[-1])
    ]
    return np.stack(layers, axis=-1)
