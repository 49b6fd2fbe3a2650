"""The table of the optimisers, and an optimiser that another package adds."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from tests.entry_points import add_from_outside
from tests.training.factories import make_network
from umseg.training.config.training_config import TrainingConfig
from umseg.training.optim.optimizer import build_optimizers, scale_learning_rates, step_unless
from umseg.training.optim.registry import OPTIMIZERS, Groups, OptimizerSettings, OptimizerSpec


def rmsprop(groups: Groups, settings: OptimizerSettings) -> list[torch.optim.Optimizer]:
    return [torch.optim.RMSprop(groups, lr=settings.lr, weight_decay=settings.weight_decay, eps=settings.eps)]


RMSPROP = OptimizerSpec("rmsprop", "RMSprop", 2e-4, 3e-3, rmsprop)


def test_the_table() -> None:
    assert list(OPTIMIZERS)[:4] == ["sgd", "adam", "adamw", "muon"]
    assert {name: (spec.lr, spec.weight_decay, spec.ssm_optimizer) for name, spec in OPTIMIZERS.items()} == {
        "sgd": (1e-2, 3e-5, None),
        "adam": (1e-3, 0.0, None),
        "adamw": (1e-3, 1e-2, None),
        "muon": (1e-1, 1e-2, "adamw"),
    }
    assert all(spec.name == name and spec.description for name, spec in OPTIMIZERS.items())


def test_the_table_needs_no_torch() -> None:
    code = "import sys, umseg.training.optim.registry as r; list(r.OPTIMIZERS); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_optimiser_from_another_package(monkeypatch: pytest.MonkeyPatch) -> None:
    add_from_outside(monkeypatch, OPTIMIZERS, "rmsprop", f"{__name__}:RMSPROP")
    network = make_network()
    config = TrainingConfig.from_options({"optimizer": "rmsprop", "eps": 1e-6})
    [optimizer] = build_optimizers(network, config)
    assert isinstance(optimizer, torch.optim.RMSprop)
    assert (optimizer.defaults["lr"], optimizer.defaults["weight_decay"], optimizer.defaults["eps"]) == (
        2e-4,
        3e-3,
        1e-6,
    )
    assert config.resolved().lr == 2e-4
    scale_learning_rates([optimizer], 0.5)
    weight = next(network.parameters())
    weight.grad = torch.ones_like(weight)
    before = weight.detach().clone()
    step_unless(optimizer, torch.tensor(1.0))
    assert torch.equal(weight, before)
    step_unless(optimizer, torch.tensor(0.0))
    assert not torch.equal(weight, before)
