"""Fine-tuning: training that starts from the weights of another model."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from umseg.common.errors import UserError
from umseg.common.text import few
from umseg.models.card import load_card
from umseg.models.weights import check_weights
from umseg.training.saved.tensor_file import TensorFile
from umseg.training.saved.trained import recorded_split
from umseg.workspace import FoldFolder, ModelFolder

log = logging.getLogger(__name__)

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
        others = f"; not loaded: {few(modules)} (new weights, as names or shapes differ)" if modules else ""
        return f"{len(self.taken)} of {len(self.taken) + len(self.fresh)} tensors of {self.file}{others}"


def load_pretrained(
    network: nn.Module,
    model_folder: Path,
    *,
    dataset: str = "",
    fold: int | str = "all",
    validation: Collection[str] = (),
) -> Loaded:
    """Load every tensor of another model that fits by name and shape.

    Of a model of the same data set that fold is used that has not been trained on the validation cases; where there is
    none, a warning says so. Of a model of other data the fold ``all`` is used, or else the first fold.

    Args:
        network: The network, freshly initialised; changed in place.
        model_folder: The other model's folder.
        dataset: Name of the data set that is trained on.
        fold: The fold that is trained.
        validation: Its validation cases.

    Raises:
        UserError: The folder holds no trained weights, hardly any of them fit, or they are no finite numbers.
    """
    card = load_card(model_folder)
    trained = [each for each in ModelFolder(model_folder).folds() if each.weights("final").exists()]
    if not trained:
        raise UserError("The model folder holds no trained weights.", file=model_folder, remedy=_REMEDY)
    of_same_data = card.plan.dataset_name == dataset
    chosen = _choose(trained, str(fold), validation) if of_same_data else min(trained, key=_all_first)
    files = [chosen.weights("final")]
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


def _choose(trained: Sequence[FoldFolder], fold: str, validation: Collection[str]) -> FoldFolder:
    """The run whose weights have seen the fewest validation cases of a fold; a warning names those that they have."""
    if fold == "all":
        return min(trained, key=_all_first)
    seen = {each: _seen(each, fold, validation) for each in trained}
    chosen = min(trained, key=lambda each: (len(seen[each]), each.name != fold, _all_first(each)))
    if seen[chosen]:
        log.warning(
            "Fold %s of %s was trained on validation cases of fold %s (%s): scores of this run will be too good. Start "
            "from a model whose fold %s is trained, or train --fold all.",
            chosen.name,
            chosen.models.path,
            fold,
            few(seen[chosen]),
            fold,
        )
    return chosen


def _all_first(fold: FoldFolder) -> bool:
    return fold.name != "all"


def _seen(other: FoldFolder, fold: str, validation: Collection[str]) -> list[str]:
    """The validation cases that another run of the same data set was trained on, as far as it is known."""
    trained = recorded_split(other)
    if trained is not None:
        return sorted(set(validation) & set(trained.train))
    # An earlier version trained it, which did not record the cases: equal folds have equal ones.
    return [] if other.name == fold else sorted(validation)
