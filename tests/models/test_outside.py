"""Networks that another package adds through entry points."""

from __future__ import annotations

import pytest
import torch

from tests.models.outside import install
from tests.models.plans import SMALL, make_configuration
from umseg.common.errors import UserError
from umseg.models import MODELS, ModelOptions, build_network
from umseg.models.convolution import Conv3d
from umseg.models.registry import check_model, enable_activation_checkpoints, fit_configuration, has_mamba_layers
from umseg.models.unet import UNet
from umseg.training.config.training_config import TrainingConfig

CONFIGURATION = make_configuration((9, 12, 8), (4, 8), [[1, 1, 1], [1, 2, 2]])
NAMES = ("halving", "following", "shallow", "looking", "missing")


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, **{name: f"tests.models.outside:{name.upper()}" for name in NAMES})


@pytest.mark.parametrize("supervised", [False, True])
@pytest.mark.parametrize("model", ["halving", "following"])
def test_any_module_becomes_a_network(model: str, supervised: bool) -> None:
    fitting = fit_configuration(model, CONFIGURATION)
    assert fitting.patch_size == (10, 12, 8)
    network = build_network(model, fitting, 1, 3, deep_supervision=supervised)
    outputs = network(torch.randn(2, 1, *fitting.patch_size))
    logits = outputs[0] if supervised else outputs
    assert logits.shape == (2, 3, *fitting.patch_size)
    # The convolutions are right for thin inputs too.
    assert any(isinstance(module, Conv3d) for module in network.modules())


def test_a_description_alone_becomes_a_u_net() -> None:
    network = build_network("shallow", SMALL["3d"], 1, 3, deep_supervision=True)
    assert isinstance(network, UNet)
    assert [tuple(out.shape) for out in network(torch.randn(1, 1, 8, 12, 4))] == [(1, 3, 8, 12, 4), (1, 3, 4, 6, 2)]


def test_default_settings_are_the_networks() -> None:
    config = TrainingConfig.from_options({"model": "halving"})
    assert (config.optimizer, config.lr) == ("adamw", 3e-4)
    assert TrainingConfig.from_options({"model": "halving", "lr": 1e-3}).lr == 1e-3
    assert TrainingConfig.from_options({"model": "shallow"}).optimizer == "sgd"


def test_only_described_networks_compute_activations_twice() -> None:
    network = build_network("shallow", SMALL["3d"], 1, 3)
    enable_activation_checkpoints(network, "shallow")
    assert isinstance(network, UNet)
    assert network.checkpoint_activations
    with pytest.raises(UserError, match="not available for 'halving'") as caught:
        enable_activation_checkpoints(build_network("halving", CONFIGURATION, 1, 3), "halving")
    assert "shallow" in str(caught.value.expected)
    assert "following" not in str(caught.value.expected)


def test_options_of_mamba_layers_do_not_apply() -> None:
    assert not has_mamba_layers("halving", ModelOptions())
    with pytest.raises(UserError, match="no Mamba layers") as caught:
        check_model("halving", ModelOptions(ssm=False))
    assert caught.value.expected == "umamba_enc or umamba_bot or umamba_enc_released or umamba_bot_released"


def test_a_missing_package_is_named_with_what_installs_it() -> None:
    with pytest.raises(UserError, match="needs quick_nets") as caught:
        build_network("missing", CONFIGURATION, 1, 3)
    assert caught.value.remedy == "Run `pip install quick_nets`."


def test_the_table_lists_them_last() -> None:
    assert tuple(MODELS)[-len(NAMES) :] == NAMES
