"""Sets of training options: what a model or a recipe takes where the user gives nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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

MODELS: dict[str, dict[str, Any]] = {
    "segresnet": {"optimizer": "adam", "lr": 1e-4, "weight_decay": 1e-5, "eps": 1e-5, "deep_supervision": False},
    "unetr": {"optimizer": "adamw", "lr": 1e-4, "eps": 1e-5, "power": 1.0, "deep_supervision": False},
    "swin_unetr": {
        "optimizer": "adamw",
        "lr": 8e-4,
        "eps": 1e-5,
        "schedule": "cosine",
        "lr_end": 1e-6,
        "deep_supervision": False,
    },
}
"""How the released U-Mamba trains the networks that it compares with; weight decay 0.01 is AdamW's.

Source: docs/rules.md, Baselines.
"""


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
    options: dict[str, Any] = dict(MODELS.get(model or "", {}))
    for stronger in (RECIPES[recipe], given):
        if stronger.get("optimizer", options.get("optimizer")) != options.get("optimizer"):
            options = {name: value for name, value in options.items() if name not in _OF_THE_OPTIMIZER}
        options |= stronger
    return options
