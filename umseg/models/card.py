"""``model.json``: the card of a model, with everything that prediction needs besides the weights."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator
from torch import nn

from umseg.architectures.options import ModelOptions
from umseg.common.errors import UserError
from umseg.common.names import Name, check_component
from umseg.common.record import FieldError, Record
from umseg.common.text import counted
from umseg.dataset.description import DatasetDescription
from umseg.dataset.io.orientation import AxisCodes
from umseg.models.registry import build_network, fit_configuration
from umseg.planning.consistency import Axis
from umseg.planning.plan import Configuration, Plan
from umseg.workspace import MODEL_REMEDY, ModelFolder


def _relative(path: str) -> str:
    """Require the relative path of a folder that is neither this one nor one around it."""
    parts = path.split("/")
    names = [part for part in parts if part != ".."]
    if (
        not names
        or ".." in parts[parts.index(names[0]) :]
        or PurePosixPath(path).is_absolute()
        or PureWindowsPath(path).drive
    ):
        raise ValueError("the path of another model folder from this one, e.g. ../umamba_bot__3d_lowres")
    for name in names:
        check_component(name)
    return path


class ModelCard(Record):
    """The network that was trained, its data, and the preparation that its images need.

    Attributes:
        umseg_version: Version of umseg that trained the model.
        model: Name of the network.
        options: Options of the network.
        configuration_name: Name of the plan's configuration that the model was trained with.
        dataset: Channels and labels of the data set.
        plan: Plan with the geometry, the normalisation and the sizes of the network.
        mirror_axes: Spatial axes of the patch that were mirrored in training, for test-time mirroring.
        first_stage: Model folder of the first stage, relative to this model folder; only in the second stage of a
            cascade.
        orientation: Axis codes of the training images as the network saw them, e.g. RAS, to which images are turned for
            prediction; None where they differed or state no place in space.
    """

    most_bytes: ClassVar[int] = 2**23

    schema_version: Literal[1] = 1
    umseg_version: Annotated[str, Field(max_length=100)]
    model: Name
    options: ModelOptions
    configuration_name: Name
    dataset: DatasetDescription
    plan: Plan
    mirror_axes: Annotated[tuple[Axis, ...], Field(max_length=3)]
    first_stage: Annotated[str, Field(max_length=4096), AfterValidator(_relative)] | None = None
    orientation: AxisCodes | None = None

    @model_validator(mode="after")
    def _is_consistent(self) -> ModelCard:
        configuration = self.plan.configurations.get(self.configuration_name)
        if configuration is None:
            raise FieldError(
                "configuration_name", self.configuration_name, " or ".join(map(repr, self.plan.configurations))
            )
        channels = self.dataset.num_channels
        if len(configuration.normalization_schemes) != channels:
            raise FieldError(
                f"plan.configurations.{self.configuration_name}.normalization_schemes",
                configuration.normalization_schemes,
                f"{channels} entries, one for each channel of the data set",
            )
        axes = set(self.mirror_axes)
        if len(axes) < len(self.mirror_axes) or not axes <= set(range(configuration.dimensions)):
            raise FieldError("mirror_axes", self.mirror_axes, f"different axes of the {configuration.dimensions}")
        if (self.first_stage is None) != (configuration.previous_stage is None):
            expected = "null" if self.first_stage else f"the folder of a model of {configuration.previous_stage}"
            raise FieldError("first_stage", self.first_stage, f"{expected}, by the configuration's previous_stage")
        return self

    @property
    def configuration(self) -> Configuration:
        """The configuration that the model was trained with; its patch is rounded up where the network requires it."""
        return fit_configuration(self.model, self.plan.configuration(self.configuration_name))

    def build_network(self, deep_supervision: bool = False) -> nn.Module:
        """The network with fresh weights; see ``umseg.models.build_network``."""
        return build_network(
            self.model,
            self.configuration,
            self.configuration.input_channels(self.dataset),
            self.dataset.num_classes,
            deep_supervision,
            self.options,
        )


def load_card(model_folder: Path) -> ModelCard:
    """Read a model folder's ``model.json``.

    Raises:
        UserError: The folder does not exist or has no valid ``model.json``.
    """
    folder = ModelFolder(Path(model_folder))
    folder.require()
    return ModelCard.load(folder.card_file, MODEL_REMEDY)


def first_stage_folder(model_folder: Path, card: ModelCard) -> Path | None:
    """The folder of a cascade's first stage, after a check that it can be one; None where the model needs none.

    Args:
        model_folder: Model folder of ``card``.
        card: Card of the second stage, or of a model that is no cascade.

    Raises:
        UserError: The folder is missing or has no valid card, or it is no first stage for this model.
    """
    if card.first_stage is None:
        return None
    folder = Path(model_folder) / card.first_stage
    first = load_card(folder)
    wanted = card.plan.configuration(card.configuration_name).previous_stage
    if first.configuration_name != wanted or first.first_stage is not None:
        raise UserError(
            "The model cannot be the first stage of a cascade.",
            file=folder,
            found=f"a model of {first.configuration_name}"
            + ("" if first.first_stage is None else ", which has a first stage itself"),
            expected=f"a model of {wanted} without a first stage of its own, as {card.configuration_name} needs",
            remedy=f"Correct first_stage in {ModelFolder(Path(model_folder)).card_file}.",
        )
    found, expected = _data(first.dataset), _data(card.dataset)
    if found != expected:
        raise UserError(
            "The first stage of the cascade was trained for other channels or labels.",
            file=folder,
            found=found,
            expected=expected,
            remedy="Put the first stage back that this model was trained with.",
        )
    return folder


def _data(description: DatasetDescription) -> str:
    values = ", ".join(map(str, description.foreground_values))
    return f"{counted(description.num_channels, 'channel')} and the label values {values}"
