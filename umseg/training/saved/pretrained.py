"""Fine-tuning: training that starts from the weights of another model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from umseg.common.errors import UserError
from umseg.models.card import load_card
from umseg.models.weights import check_weights
from umseg.training.saved.tensor_file import TensorFile
from umseg.workspace import ModelFolder

_REMEDY = "Name a model folder that `umseg train` or `umseg import` made: .../models/<model>__<configuration>."


@dataclass(frozen=True)
class Loaded:
    """The outcome of loading another model's weights.

    Attributes:
        file: The file of the weights.
        taken: Names of the tensors that were loaded.
        fresh: Names of the tensors that keep their initialisation because the other model has none of that name and
            shape, e.g. the output layers where classes differ.
    """

    file: Path
    taken: tuple[str, ...]
    fresh: tuple[str, ...]

    def __str__(self) -> str:
        modules = sorted({name.rpartition(".")[0] for name in self.fresh})
        others = f"; not loaded: {', '.join(modules)}" if modules else ""
        return f"{len(self.taken)} of {len(self.taken) + len(self.fresh)} tensors of {self.file}{others}"


def load_pretrained(network: nn.Module, model_folder: Path) -> Loaded:
    """Load every tensor of another model that fits by name and shape.

    Args:
        network: The network, freshly initialised; changed in place.
        model_folder: The other model's folder, of which the fold ``all`` is used, or else the first fold.

    Raises:
        UserError: The folder holds no trained weights, hardly any of them fit, or they are no finite numbers.
    """
    card = load_card(model_folder)
    trained = [fold for fold in ModelFolder(model_folder).folds() if fold.weights("final").exists()]
    files = [fold.weights("final") for fold in sorted(trained, key=lambda fold: fold.name != "all")]
    if not files:
        raise UserError("The model folder holds no trained weights.", file=model_folder, remedy=_REMEDY)
    file = TensorFile.open(files[0], _REMEDY)
    state, entries = network.state_dict(), file.header.tensors
    fitting = [name for name, entry in entries.items() if name in state and tuple(state[name].shape) == entry.shape]
    loaded = Loaded(files[0], tuple(sorted(fitting)), tuple(sorted(set(state) - set(fitting))))
    # Less than half means another architecture or plan: training would silently start from scratch.
    if 2 * len(fitting) < len(state):
        raise UserError(
            "The weights of the other model do not fit this network.",
            file=files[0],
            found=f"{len(fitting)} of {len(state)} tensors fit by name and shape; the other model is {card.model}, "
            f"{card.configuration_name}",
            expected="the same model with the same network sizes",
            remedy="Plan with `umseg plan DATASET --like MODEL_FOLDER`, and train the same --model and --config.",
        )
    tensors = file.load()
    taken = {name: tensors[name] for name in fitting}
    check_weights(taken, {name: state[name] for name in fitting}, files[0], _REMEDY)
    network.load_state_dict({**state, **taken})
    return loaded
