"""Sets of training options: the values that a model or a recipe gives to options that the user leaves out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from umseg.architectures.registry import NETWORKS
from umseg.common.registry import Registry

DEFAULT_RECIPE = "paper"


@dataclass(frozen=True)
class Recipe:
    """A set of defaults.

    Attributes:
        name: Name on the command line.
        description: One line for help texts.
        options: Fields of ``TrainingConfig`` that differ from its own defaults.
    """

    name: str
    description: str
    options: Mapping[str, Any]


_OWN = (
    # The paper's settings are the defaults of ``TrainingConfig``.
    Recipe("paper", "the U-Mamba paper's settings", {}),
    Recipe(
        "quick",
        "umseg's own, for a tenth of the iterations, each slower by the steps of Muon",
        {
            "epochs": 100,
            "optimizer": "muon",
            "lr": 0.1,
            "schedule": "cosine",
            "warmup": 10,
            # Organs that are each other's mirror images are told apart much later with mirrored patches.
            "mirror_axes": (),
        },
    ),
)

RECIPES: Registry[Recipe] = Registry(
    "recipe", "umseg.recipes", {recipe.name: recipe for recipe in _OWN}, accepts=Recipe
)
"""The recipes by name (docs/quick.md)."""

_OF_THE_OPTIMIZER = ("lr", "weight_decay", "eps")


def with_defaults(model: str | None, recipe: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Options given by the user, completed by those of the recipe, then by those of the model.

    A learning rate suits one optimiser: where a stronger set names another optimiser, the learning rate, weight decay
    and epsilon of a weaker set do not hold.

    Args:
        model: Name of the model; None if the user names none.
        recipe: Name of the recipe.
        given: Options that the user gave, by field of ``TrainingConfig``.

    Raises:
        UserError: There is no such recipe.
    """
    spec = NETWORKS.get(model or "")
    options: dict[str, Any] = dict(spec.defaults) if spec is not None else {}
    for stronger in (RECIPES.look_up(recipe, "--recipe").options, given):
        if stronger.get("optimizer", options.get("optimizer")) != options.get("optimizer"):
            options = {name: value for name, value in options.items() if name not in _OF_THE_OPTIMIZER}
        options |= stronger
    return options
