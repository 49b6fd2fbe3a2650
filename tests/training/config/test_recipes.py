from __future__ import annotations

import pytest

from tests.models.plans import BASELINES
from umseg.common.errors import UserError
from umseg.training.config import recipes
from umseg.training.config.training_config import TrainingConfig


def test_without_a_recipe_the_papers() -> None:
    assert TrainingConfig.from_options({}) == TrainingConfig() == TrainingConfig.from_options({"recipe": "paper"})


def test_what_is_given_wins_over_the_recipe_and_the_recipe_over_the_model() -> None:
    quick = TrainingConfig.from_options({"recipe": "quick", "lr": 5e-2})
    assert (quick.optimizer, quick.lr, quick.epochs) == ("muon", 5e-2, recipes.RECIPES["quick"].options["epochs"])
    swin = TrainingConfig.from_options({"model": "swin_unetr", "recipe": "quick"})
    assert swin.optimizer == recipes.RECIPES["quick"].options["optimizer"]
    assert swin.lr == recipes.RECIPES["quick"].options["lr"]
    assert swin.deep_supervision is False


def test_a_rate_goes_with_its_optimiser() -> None:
    for options, expected in (
        ({"recipe": "quick", "optimizer": "adamw"}, ("adamw", 1e-3, 1e-2, 1e-8)),
        ({"recipe": "quick", "optimizer": "sgd", "lr": 0.02}, ("sgd", 0.02, 3e-5, 1e-8)),
        ({"recipe": "quick", "optimizer": "muon"}, ("muon", 0.1, 1e-2, 1e-8)),
        ({"model": "segresnet", "optimizer": "sgd"}, ("sgd", 1e-2, 3e-5, 1e-8)),
        ({"model": "segresnet", "recipe": "quick"}, ("muon", 0.1, 1e-2, 1e-8)),
        ({"model": "segresnet", "optimizer": "adam"}, ("adam", 1e-4, 1e-5, 1e-5)),
        ({"model": "segresnet", "weight_decay": 0.5}, ("adam", 1e-4, 0.5, 1e-5)),
    ):
        config = TrainingConfig.from_options(options).resolved()
        assert (config.optimizer, config.lr, config.weight_decay, config.eps) == expected, options


def test_the_published_settings_of_the_networks_to_compare_with() -> None:
    """The settings in docs/rules.md, Baselines."""
    found = {name: TrainingConfig.from_options({"model": name}) for name in BASELINES}
    assert [(c.optimizer, c.lr, c.schedule, c.power, c.lr_end) for c in found.values()] == [
        ("adam", 1e-4, "poly", 0.9, 0.0),
        ("adamw", 1e-4, "poly", 1.0, 0.0),
        ("adamw", 8e-4, "cosine", 0.9, 1e-6),
    ]
    assert all(config.eps == 1e-5 and not config.deep_supervision for config in found.values())


def test_an_unknown_recipe_is_refused() -> None:
    with pytest.raises(UserError, match="Unknown recipe 'quik'") as caught:
        TrainingConfig.from_options({"recipe": "quik"})
    assert caught.value.expected == "paper, quick"
    assert caught.value.remedy == "Did you mean 'quick'?"
