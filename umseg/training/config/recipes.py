"""Sets of training options: what a model or a recipe takes where the user gives nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from umseg.architectures.registry import NETWORKS
from umseg.common.errors import UserError

DEFAULT_RECIPE = "paper"

RECIPES: dict[str, dict[str, Any]] = {
    # The paper's settings are the defaults of ``TrainingConfig``.
    "paper": {},
    "quick": {
        "epochs": 100,
        "optimizer": "muon",
        "lr": 0.1,
        "schedule": "cosine",
        "warmup": 10,
        # Organs that are each other's mirror images are told apart much later with mirrored patches.
        "mirror_axes": (),
    },
}
"""``quick`` is ours, for a tenth of the iterations (docs/quick.md)."""

_OF_THE_OPTIMIZER = ("lr", "weight_decay", "eps")


def with_defaults(model: str | None, recipe: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Options given by the user, completed by those of the recipe and of the model; earlier ones win.

    A learning rate suits one optimiser: where a stronger set names another optimiser, a weaker set's rate, weight decay
    and epsilon do not hold.

    Raises:
        UserError: Lists the known recipes.
    """
    if recipe not in RECIPES:
        raise UserError("--recipe is not known.", found=recipe, expected=" or ".join(RECIPES))
    spec = NETWORKS.get(model or "")
    options: dict[str, Any] = dict(spec.defaults) if spec is not None else {}
    for stronger in (RECIPES[recipe], given):
        if stronger.get("optimizer", options.get("optimizer")) != options.get("optimizer"):
            options = {name: value for name, value in options.items() if name not in _OF_THE_OPTIMIZER}
        options |= stronger
    return options
