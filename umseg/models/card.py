"""``model.json``: the card of a model, with everything that prediction needs besides the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from torch import nn

from umseg.architectures.options import ModelOptions
from umseg.common.errors import UserError
from umseg.common.record import Record
from umseg.dataset.description import DatasetDescription
from umseg.models.registry import build_network, fit_configuration
from umseg.planning.plan import Configuration, Plan
from umseg.workspace import MODEL_REMEDY, ModelFolder


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

    schema_version: Literal[1] = 1
    umseg_version: str
    model: str
    options: ModelOptions
    configuration_name: str
    dataset: DatasetDescription
    plan: Plan
    mirror_axes: tuple[int, ...]
    first_stage: str | None = None
    orientation: str | None = None

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
    if not Path(model_folder).is_dir():
        raise UserError("The model folder does not exist.", file=model_folder, remedy=MODEL_REMEDY)
    return ModelCard.load(ModelFolder(Path(model_folder)).card_file, MODEL_REMEDY)
