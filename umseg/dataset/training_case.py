"""Reading a training case: its image and its label map, along the axes that the data set is used in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

from umseg.dataset.dataset import Case
from umseg.dataset.io.images import Image, LabelMap, read_image, read_label
from umseg.dataset.io.orientation import Turn, stored_axes, turn_onto
from umseg.dataset.io.source import Notice

ValuesT = TypeVar("ValuesT", Image, LabelMap)


@dataclass(frozen=True)
class TrainingCase:
    """A case as it is used.

    Attributes:
        image: The image.
        label: The label map, along the axes of the image.
        stored_axes: The orientation in which the image is stored (``stored_axes``); None if it is unknown.
    """

    image: Image
    label: LabelMap
    stored_axes: str | None


def read_training_case(case: Case, num_channels: int, axes: str | None) -> TrainingCase:
    """Read image and label map.

    A label map that lies on its image's grid in space, but is stored along other axes, is turned to those of the image;
    the image's notices then say so.

    Args:
        case: A case with a label map.
        num_channels: Number of channels that the data set declares.
        axes: Axis codes to which both are turned; None leaves the image as it is stored.

    Raises:
        UserError: A file cannot be read; see ``read_image`` and ``read_label``.
    """
    if case.label is None:
        raise ValueError(f"case {case.id} has no label file")
    image, label = read_image(case.images, num_channels), read_label(case.label)
    stored = stored_axes(case.images[0], image.geometry)
    turn = turn_onto(case.label, label.geometry, case.images[0], image.geometry)
    if turn:
        notice = Notice(
            "A label map is stored along other axes than its image.",
            case.label,
            found=str(stored_axes(case.label, label.geometry)),
            expected=f"{stored}, as the image",
            remedy="Both lie on the same grid in space: the label map is turned to the axes of the image.",
        )
        image, label = replace(image, notices=(*image.notices, notice)), turned(label, turn)
    turn = Turn.between(stored, axes)
    return TrainingCase(turned(image, turn), turned(label, turn), stored)


def turned(values: ValuesT, turn: Turn) -> ValuesT:
    """An image or a label map along other axes."""
    if not turn:
        return values
    return replace(
        values,
        array=turn.array(values.array),
        spacing=turn.spacing(values.spacing),
        geometry=turn.geometry(values.geometry),
    )
