from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.training.factories import make_network
from umseg.models.ssm import MambaLayer
from umseg.training.config.training_config import TrainingConfig
from umseg.training.optim.muon import Muon, matrix_weights
from umseg.training.optim.optimizer import build_optimizers, scale_learning_rates


def names_by_group(network: nn.Module, optimizers: list[torch.optim.Optimizer]) -> list[list[set[str]]]:
    """Per optimiser and group the names of the parameters; fails unless each parameter is in exactly one group."""
    name_of = {id(parameter): name for name, parameter in network.named_parameters()}
    found = [[[name_of[id(p)] for p in group["params"]] for group in o.param_groups] for o in optimizers]
    everything = [name for groups in found for group in groups for name in group]
    assert sorted(everything) == sorted(name_of.values())
    return [[set(group) for group in groups] for groups in found]


@pytest.fixture(scope="module")
def umamba() -> nn.Module:
    return make_network(model="umamba_bot")


def ssm_parameters(network: nn.Module) -> set[str]:
    return {
        f"{prefix}.{name}"
        for prefix, module in network.named_modules()
        if isinstance(module, MambaLayer)
        for name, _ in module.named_parameters()
    }


def test_the_default_is_one_published_sgd_for_everything(umamba: nn.Module) -> None:
    optimizers = build_optimizers(umamba, TrainingConfig())
    assert len(names_by_group(umamba, optimizers)) == 1
    [group] = optimizers[0].param_groups
    assert isinstance(optimizers[0], torch.optim.SGD)
    assert (group["lr"], group["momentum"], group["nesterov"], group["weight_decay"]) == (0.01, 0.99, True, 3e-5)


def test_adamw_with_its_own_defaults(umamba: nn.Module) -> None:
    [optimizer] = build_optimizers(umamba, TrainingConfig(optimizer="adamw"))
    assert isinstance(optimizer, torch.optim.AdamW)
    assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["weight_decay"]) == (1e-3, 1e-2)


def test_muon_trains_the_matrices_and_adamw_all_else() -> None:
    network = make_network()
    muon, adamw = build_optimizers(network, TrainingConfig(optimizer="muon", lr=0.2, weight_decay=0.03))
    names_by_group(network, [muon, adamw])
    assert (type(muon), type(adamw)) == (Muon, torch.optim.AdamW)
    assert {id(p) for p in muon.param_groups[0]["params"]} == {id(p) for p in matrix_weights(network)}
    assert [o.param_groups[0]["lr"] for o in (muon, adamw)] == [0.2, pytest.approx(0.02)]
    assert [o.param_groups[0]["weight_decay"] for o in (muon, adamw)] == [0.03, 0.03]
    assert TrainingConfig(optimizer="muon").resolved().lr == 0.1


@pytest.mark.parametrize("options", [{}, {"ssm_lr": 3e-3}, {"ssm_optimizer": "adamw", "ssm_weight_decay": 0.0}])
def test_beside_muon_the_ssm_layers_have_adamw(umamba: nn.Module, options: dict[str, Any]) -> None:
    optimizers = build_optimizers(umamba, TrainingConfig(optimizer="muon", **options))
    [weights], [rest], [decayed, fixed] = names_by_group(umamba, optimizers)
    assert decayed | fixed == ssm_parameters(umamba)
    assert all(name.endswith((".A_log", ".D")) for name in fixed)
    assert weights | rest == {name for name, _ in umamba.named_parameters()} - ssm_parameters(umamba)
    assert [type(o) for o in optimizers] == [Muon, torch.optim.AdamW, torch.optim.AdamW]
    assert [o.defaults["lr"] for o in optimizers] == [0.1, pytest.approx(0.01), options.get("ssm_lr", 1e-3)]
    shown = TrainingConfig(optimizer="muon").resolved()
    assert (shown.ssm_optimizer, shown.model_copy(update={"model": "nnunet"}).resolved().ssm_optimizer) == (
        "adamw",
        None,
    )


def test_muon_for_the_ssm_layers_alone(umamba: nn.Module) -> None:
    optimizers = build_optimizers(umamba, TrainingConfig(ssm_optimizer="muon", ssm_weight_decay=0.03))
    [rest], [weights], [others, fixed] = names_by_group(umamba, optimizers)
    assert weights | others | fixed == ssm_parameters(umamba)
    assert rest.isdisjoint(weights)
    assert {name.rsplit(".")[-1] for name in fixed} == {"A_log", "D"}
    assert [group["weight_decay"] for o in optimizers for group in o.param_groups] == [3e-5, 0.03, 0.03, 0]
    assert [o.defaults["lr"] for o in optimizers] == [0.01, 0.1, pytest.approx(0.01)]


@pytest.mark.parametrize(
    ("options", "kind", "lr"),
    [
        ({"ssm_optimizer": "adamw"}, torch.optim.AdamW, 1e-3),
        ({"ssm_optimizer": "adamw", "ssm_lr": 3e-4}, torch.optim.AdamW, 3e-4),
        ({"ssm_lr": 2e-3}, torch.optim.SGD, 2e-3),
        ({"ssm_weight_decay": 0.1}, torch.optim.SGD, 0.01),
    ],
)
def test_ssm_layers_with_their_own(umamba: nn.Module, options: dict[str, Any], kind: type, lr: float) -> None:
    optimizers = build_optimizers(umamba, TrainingConfig(**options))
    [rest], [decayed, fixed] = names_by_group(umamba, optimizers)
    assert decayed | fixed == ssm_parameters(umamba)
    assert fixed
    assert all(name.endswith((".A_log", ".D")) for name in fixed)
    assert not any(name.endswith((".A_log", ".D")) for name in decayed | rest)
    assert isinstance(optimizers[1], kind)
    assert [group["weight_decay"] for group in optimizers[1].param_groups] == [
        optimizers[1].defaults["weight_decay"],
        0,
    ]
    assert [group["lr"] for group in optimizers[1].param_groups] == [lr, lr]
    assert optimizers[0].param_groups[0]["lr"] == 0.01


def test_ssm_layers_take_from_the_network_what_they_are_not_given(umamba: nn.Module) -> None:
    own = build_optimizers(umamba, TrainingConfig(lr=0.05, weight_decay=1e-3, ssm_weight_decay=0.2))[1]
    assert (own.defaults["lr"], own.defaults["weight_decay"]) == (0.05, 0.2)
    own = build_optimizers(umamba, TrainingConfig(lr=0.05, weight_decay=1e-3, ssm_lr=0.2))[1]
    assert (own.defaults["lr"], own.defaults["weight_decay"]) == (0.2, 1e-3)
    own = build_optimizers(umamba, TrainingConfig(lr=0.05, weight_decay=1e-3, ssm_optimizer="sgd"))[1]
    assert (own.defaults["lr"], own.defaults["weight_decay"]) == (0.01, 3e-5)


def test_a_network_without_ssm_layers_needs_no_second_optimiser() -> None:
    network = make_network()
    assert len(build_optimizers(network, TrainingConfig(ssm_optimizer="adamw"))) == 1


def test_rates_are_scaled_from_their_initial_values(umamba: nn.Module) -> None:
    optimizers = build_optimizers(umamba, TrainingConfig(lr=0.02, ssm_optimizer="adamw", ssm_lr=0.001))
    for factor in (0.5, 0.25):
        scale_learning_rates(optimizers, factor)
    assert [group["lr"] for o in optimizers for group in o.param_groups] == [0.005, 0.00025, 0.00025]
