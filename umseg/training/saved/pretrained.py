"""Start from the weights of another model: fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from umseg.common.errors import UserError
from umseg.models.card import load_card
from umseg.training.saved import checkpoint
from umseg.workspace import ModelFolder

_REMEDY = "Name a model folder that `umseg train` or `umseg import` made: .../models/<model>__<configuration>."


@dataclass(frozen=True)
class Loaded:
    """What became of another model's weights.

    Attributes:
        file: Where they came from.
        taken: Names of the tensors that were loaded.
        fresh: Names of the tensors that stay as they were initialised, because the other model has none of that name
            and shape: the heads, where classes differ.
    """

    file: Path
    taken: tuple[str, ...]
    fresh: tuple[str, ...]

    def __str__(self) -> str:
        modules = sorted({name.rpartition(".")[0] for name in self.fresh})
        rest = f"; initialised anew: {', '.join(modules)}" if modules else ""
        return f"{len(self.taken)} of {len(self.taken) + len(self.fresh)} tensors from {self.file}{rest}"


def load_pretrained(network: nn.Module, model_folder: Path) -> Loaded:
    """Load every tensor of another model that fits by name and shape.

    Args:
        network: Freshly initialised; changed in place.
        model_folder: A model folder. Of several folds ``all`` is taken, else the first.

    Raises:
        UserError: The folder holds no trained weights, or hardly any of them fit.
    """
    card = load_card(model_folder)
    trained = [fold for fold in ModelFolder(model_folder).folds() if fold.weights("final").exists()]
    files = [fold.weights("final") for fold in sorted(trained, key=lambda fold: fold.name != "all")]
    if not files:
        raise UserError("The model folder holds no trained weights.", file=model_folder, remedy=_REMEDY)
    tensors, _ = checkpoint.load_tensors(files[0], _REMEDY)
    own = network.state_dict()
    fitting = {name: tensor for name, tensor in tensors.items() if name in own and own[name].shape == tensor.shape}
    loaded = Loaded(files[0], tuple(sorted(fitting)), tuple(sorted(set(own) - set(fitting))))
    # Less than half is another architecture or plan: training on would start from scratch without saying so.
    if 2 * len(fitting) < len(own):
        raise UserError(
            "The weights of the other model do not fit this network.",
            file=files[0],
            found=f"{len(fitting)} of {len(own)} tensors fit by name and shape; the other model is {card.model}, "
            f"{card.configuration_name}",
            expected="the same --model on the same network sizes",
            remedy="Plan with `umseg plan DATASET --like MODEL_FOLDER`, and train the same --model and --config.",
        )
    network.load_state_dict({**own, **fitting})
    return loaded
