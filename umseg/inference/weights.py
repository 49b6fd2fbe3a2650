"""The weights of a model folder that prediction uses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from umseg.common.errors import UserError
from umseg.common.registry import unknown_name
from umseg.workspace import WEIGHTS, ModelFolder

if TYPE_CHECKING:
    import torch

_ALL_REMEDY = (
    "'all' is the one model that `umseg train --fold all` makes, not every fold. Leave out --folds to average all "
    "trained folds, or train that model."
)
WEIGHTS_REMEDY = "Finish the training of this fold, choose other --folds, or give the folder that `umseg train` made."


def find_weights(model_folder: Path, folds: Sequence[str] | None, weights: str) -> list[Path]:
    """The weight files of the folds; ``folds`` None stands for all trained folds.

    Raises:
        UserError: There is no such kind of weights, or a given fold, or all folds, have no such file.
    """
    if weights not in WEIGHTS:
        raise unknown_name("kind of weights", weights, WEIGHTS, "--weights")
    models = ModelFolder(model_folder)
    trained = [fold.name for fold in models.folds() if fold.weights(weights).exists()]
    missing = [fold for fold in (folds or []) if fold not in trained]
    if missing or not trained:
        raise UserError(
            "The model folder is incomplete: a fold has no trained weights.",
            file=models.fold(missing[0] if missing else "*").weights(weights),
            found="folds with weights: " + (", ".join(trained) or "none"),
            expected="folds " + ", ".join(folds) if folds else "at least one trained fold",
            remedy=_ALL_REMEDY if missing == ["all"] and trained else WEIGHTS_REMEDY,
        )
    return [models.fold(fold).weights(weights) for fold in (folds or trained)]


def loaded_message(model: Path, folds: Sequence[str], device: torch.device, runtime: str = "torch") -> str:
    """As in "Loaded folds 0 and 1 of nnunet__3d_fullres on the CPU."."""
    names = " and ".join(filter(None, [", ".join(folds[:-1]), folds[-1]]))
    where = "the CPU" if device.type == "cpu" else str(device)
    program = "" if runtime == "torch" else " in onnxruntime"
    return f"Loaded fold{'s' if len(folds) > 1 else ''} {names} of {model.absolute().name}{program} on {where}."
