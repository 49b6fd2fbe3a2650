from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.models.plans import BASELINES, SMALL, U_NETS, make_configuration
from umseg.common.errors import UserError
from umseg.models.registry import MODELS, ModelOptions, build_network, check_model, fit_configuration, output_layers

CONFIGURATION = SMALL["3d"]


def test_unknown_model_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match="'unet'") as caught:
        build_network("unet", CONFIGURATION, 1, 2)
    assert caught.value.found == "unet"
    assert caught.value.expected == ", ".join(MODELS)


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("nnunet", ModelOptions(ssm=False), "no Mamba layers"),
        ("nnunet", ModelOptions(ssm_residual=True), "no Mamba layers"),
        ("nnunet_resenc", ModelOptions(ssm=False), "no Mamba layers"),
        ("umamba_enc", ModelOptions(ssm=False, ssm_residual=True), "contradict"),
        ("umamba_bot", ModelOptions(ssm=False, ssm_residual=True), "contradict"),
    ],
)
def test_options_that_cannot_be_met(model: str, options: ModelOptions, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        build_network(model, CONFIGURATION, 1, 2, options=options)
    assert caught.value.remedy


def test_plain_network_refuses_a_plan_for_residual_encoders() -> None:
    plan = CONFIGURATION.model_copy(update={"n_conv_per_stage": None, "n_blocks_per_stage": (1, 3, 4)})
    with pytest.raises(UserError, match="made for it") as caught:
        build_network("nnunet", plan, 1, 2)
    assert caught.value.remedy is not None
    assert "nnunet_resenc" in caught.value.remedy
    for model in set(U_NETS) - {"nnunet"}:
        build_network(model, plan, 1, 2)


@pytest.mark.parametrize("model", MODELS)
def test_default_options_fit_every_model(model: str) -> None:
    check_model(model, ModelOptions())


@pytest.mark.parametrize("model", U_NETS)
def test_the_seed_decides_the_weights(model: str) -> None:
    def draw(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        return build_network(model, CONFIGURATION, 1, 2).state_dict()

    first, second, other = draw(0), draw(0), draw(1)
    assert all(torch.equal(first[name], second[name]) for name in first)
    drawn = [name for name, value in first.items() if value.std() > 0 and "A_log" not in name]
    assert drawn
    assert not any(torch.equal(first[name], other[name]) for name in drawn)


@pytest.mark.parametrize("options", [ModelOptions(), ModelOptions(ssm_residual=True), ModelOptions(ssm=False)])
@pytest.mark.parametrize("model", U_NETS)
def test_weights_travel_through_safetensors(tmp_path: Path, model: str, options: ModelOptions) -> None:
    if not model.startswith("umamba"):
        options = ModelOptions()
    network, other = (build_network(model, CONFIGURATION, 1, 2, options=options).eval() for _ in range(2))
    image = torch.randn(1, 1, *CONFIGURATION.patch_size)
    assert not torch.equal(network(image), other(image))
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"), strict=True)
    assert torch.equal(network(image), other(image))


def test_patches_fit_the_network_that_is_trained() -> None:
    plan = CONFIGURATION.model_copy(update={"patch_size": (40, 56, 40)})
    assert fit_configuration("umamba_enc", plan) is plan
    assert fit_configuration("swin_unetr", plan) == plan.model_copy(update={"patch_size": (64, 64, 64)})


@pytest.mark.parametrize("patch", [(64, 64), (64, 32, 32)])
@pytest.mark.parametrize("model", MODELS)
def test_output_layers_give_the_classes(model: str, patch: tuple[int, ...]) -> None:
    if model in BASELINES:
        pytest.importorskip("monai", reason="the extra 'baselines' is not installed")
    axes = len(patch)
    configuration = make_configuration(patch, (4, 8, 8), [[1] * axes, [2] * axes, [2] * axes])
    network = build_network(model, configuration, 2, 5, deep_supervision=True)
    layers = output_layers(network)
    assert len(layers) == (1 if model in BASELINES else 2)
    assert {layer.out_channels for layer in layers} == {5}
