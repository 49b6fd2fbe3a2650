"""What a converted model says of itself: the preparation of its images, its windows, and its labels."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

KEY = "umseg"
"""Key of the description among the metadata of an ONNX file."""

_SCHEMA = 1
_NOT_FOREGROUND = ("background", "ignore")


class PredictionError(Exception):
    """Something is wrong with the image or the model, and the user can mend it."""


class Cleaning(NamedTuple):
    """How objects are cleaned.

    Attributes:
        smallest: Voxels of the smallest object that is kept.
        fill_holes: Whether holes in objects are filled.
    """

    smallest: int
    fill_holes: bool


@dataclass(frozen=True)
class Metadata:
    """The part of a model's description that prediction needs.

    Attributes:
        fold: Name of the fold whose weights the network has.
        channels: Names of the image channels.
        labels: Class name to its value in label maps; empty in an instance task.
        num_classes: Number of outputs of the network.
        region_values: With regions: the value of each output. None: output c is class c.
        instances: Whether label maps number objects.
        cleaning: How objects are cleaned in an instance task; None where the validation of the fold chose nothing.
        order: Axis order of the network, as axes of the image.
        orientation: Axis codes (x, y, z) of the training images, e.g. RAS; None where they are not known.
        spacing: Spacing of the network's images along its own axes, mm; two axes for a 2-D network.
        patch: Size of the network's patch; two axes for a 2-D network.
        batch_size: Number of patches that are computed together.
        mirror_axes: Axes of the patch that were mirrored in training.
        normalizations: Name of the intensity normalisation of each channel.
        masked: Whether the normalisation of each channel looks only at voxels that are not zero.
        intensities: Foreground intensities of the training images by number of the channel.
    """

    fold: str
    channels: tuple[str, ...]
    labels: Mapping[str, int]
    num_classes: int
    region_values: tuple[int, ...] | None
    instances: bool
    cleaning: Cleaning | None
    order: tuple[int, int, int]
    orientation: str | None
    spacing: tuple[float, ...]
    patch: tuple[int, ...]
    batch_size: int
    mirror_axes: tuple[int, ...]
    normalizations: tuple[str, ...]
    masked: tuple[bool, ...]
    intensities: Mapping[str, Mapping[str, float]]

    @classmethod
    def from_json(cls, text: str) -> Metadata:
        """Read the description in an ONNX file.

        Raises:
            PredictionError: It is not one of a model that can predict here.
        """
        try:
            content = json.loads(text)
            if content["schema_version"] != _SCHEMA:
                raise PredictionError(
                    f"The model was exported by another version of umseg: {content['umseg_version']}."
                )
            return _from_content(content)
        except (KeyError, TypeError, ValueError) as error:
            raise PredictionError(f"The model does not describe itself as umseg's models do: {error!r}.") from error


def of_all(folds: Sequence[Metadata]) -> Metadata:
    """The description of the networks of several folds together.

    The smallest object is the lower median of the folds', and holes are filled if most folds fill them; nothing is
    cleaned unless every fold says how.

    Raises:
        PredictionError: There is none, or they are of different models.
    """
    if not folds:
        raise PredictionError("There is no network.")
    alike = {str(replace(fold, fold="", cleaning=None)) for fold in folds}
    if len(alike) > 1:
        raise PredictionError("The networks are of different models.")
    choices = [fold.cleaning for fold in folds if fold.cleaning is not None]
    cleaning = None
    if len(choices) == len(folds):
        smallest = sorted(choice.smallest for choice in choices)[(len(choices) - 1) // 2]
        cleaning = Cleaning(smallest, 2 * sum(choice.fill_holes for choice in choices) > len(choices))
    return replace(folds[0], fold=", ".join(fold.fold for fold in folds), cleaning=cleaning)


def _from_content(content: dict[str, Any]) -> Metadata:
    card = content["card"]
    plan, dataset = card["plan"], card["dataset"]
    configuration = plan["configurations"][card["configuration_name"]]
    if configuration["previous_stage"] is not None:
        raise PredictionError("The model is the second stage of a cascade. Predict with `umseg predict`.")
    instances = dataset["task"] == "instance"
    named = {name: value for name, value in dataset["labels"].items() if name not in _NOT_FOREGROUND}
    order = dataset["regions_class_order"]
    regions = any(not isinstance(value, int) for value in named.values())
    labels = dict(zip(named, order, strict=True)) if regions else dict(sorted(named.items(), key=lambda item: item[1]))
    cleaning = content["cleaning"]
    first, second, third = plan["transpose_forward"]
    return Metadata(
        fold=content["fold"],
        channels=tuple(dataset["channel_names"].values()),
        labels={} if instances else labels,
        num_classes=3 if instances else len(labels) + (not regions),
        region_values=tuple(order) if regions else None,
        instances=instances,
        cleaning=None if cleaning is None else Cleaning(cleaning["smallest"], cleaning["fill_holes"]),
        order=(first, second, third),
        orientation=card["orientation"],
        spacing=tuple(configuration["spacing"]),
        patch=tuple(content["patch_size"]),
        batch_size=configuration["batch_size"],
        mirror_axes=tuple(card["mirror_axes"]),
        normalizations=tuple(configuration["normalization_schemes"]),
        masked=tuple(configuration["use_mask_for_norm"]),
        intensities=plan["foreground_intensity_properties_per_channel"],
    )
