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
        "optimizer": "adamw",
        "lr": 5e-3,
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
"""How the released U-Mamba trains the networks that it compares with (facts 2.4); weight decay 0.01 is AdamW's."""


def recipe_defaults(recipe: str) -> Mapping[str, Any]:
    """Options of a recipe.

    Raises:
        UserError: Lists the known recipes.
    """
    if recipe not in RECIPES:
        raise UserError("--recipe is not known.", found=recipe, expected=" or ".join(RECIPES))
    return RECIPES[recipe]


def model_defaults(model: str | None) -> Mapping[str, Any]:
    """Options that a model brings; most bring none."""
    return MODELS.get(model or "", {})
