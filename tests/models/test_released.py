"""The released networks, weight for weight, and the parameter counts that were recorded of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.conftest import GOLDEN
from tests.models.plans import make_configuration
from umseg.architectures.options import ModelOptions
from umseg.common.errors import UserError
from umseg.models import build_network, convert_state_dict
from umseg.models.ssm import MambaLayer

RECORDED = {
    "bot2d": "umamba_bot_released",
    "enc3d": "umamba_enc_released",
    "enc3d_chantoken": "umamba_enc_released",
    "plain3d": "nnunet",
    "resenc2d": "nnunet_resenc",
}
MODELS = {
    "UMambaBot": "umamba_bot_released",
    "UMambaEnc": "umamba_enc_released",
    "PlainConvUNet": "nnunet",
    "ResidualEncoderUNet": "nnunet_resenc",
}
COUNTS: dict[str, Any] = json.loads((GOLDEN / "networks.json").read_text())


def load(name: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    """A recorded network; the larger ones lie beside the repository only."""
    path = GOLDEN / f"{name}.pt"
    if not path.exists():
        shared: Path = request.getfixturevalue("shared")
        path = shared / "reference" / "networks" / f"{name}.pt"
    recorded: dict[str, Any] = torch.load(path, weights_only=True)
    return recorded


def build(model: str, config: dict[str, Any], options: ModelOptions | None = None) -> nn.Module:
    features = config.get("features") or config["feats"]
    classes = config.get("num_classes") or config["ncls"]
    configuration = make_configuration(config["patch"], features, config["strides"], config["kernels"])
    return build_network(model, configuration, config["cin"], classes, deep_supervision=True, options=options)


@pytest.mark.parametrize("name", RECORDED)
def test_outputs_equal_those_of_the_released_network(name: str, request: pytest.FixtureRequest) -> None:
    recorded = load(name, request)
    network = build(RECORDED[name], recorded["config"])
    network.load_state_dict(convert_state_dict(recorded["state_dict"], RECORDED[name]), strict=True)
    for dtype, key, allowed in ((torch.float32, "out_f32", 1e-5), (torch.float64, "out_f64", 1e-12)):
        with torch.no_grad():
            outputs = network.to(dtype)(recorded["x"].to(dtype))
        for ours, theirs in zip(outputs, recorded[key], strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=allowed * float(theirs.abs().max()))


@pytest.mark.parametrize("network", MODELS)
@pytest.mark.parametrize("configuration", COUNTS)
def test_parameters_equal_the_recorded(configuration: str, network: str) -> None:
    recorded = COUNTS[configuration]
    with torch.device("meta"):
        built = build(MODELS[network], recorded["config"])
    assert sum(parameter.numel() for parameter in built.parameters()) == recorded[network]["params"]
    assert len(built.state_dict()) == recorded[network]["n_unique_tensors"]


@pytest.mark.parametrize("network", ["UMambaBot", "UMambaEnc"])
@pytest.mark.parametrize("configuration", COUNTS)
def test_mamba_layers_equal_the_recorded(configuration: str, network: str) -> None:
    recorded = COUNTS[configuration]
    with torch.device("meta"):
        built = build(MODELS[network], recorded["config"])
    layers = [module for module in built.modules() if isinstance(module, MambaLayer)]
    expected = [(layer["d_model"], layer["channel_token"]) for layer in recorded[network]["mamba_layers"]]
    assert [(layer.mamba.d_model, layer.channel_tokens) for layer in layers] == expected


@pytest.mark.parametrize("name", ["bot2d", "enc3d"])
def test_without_ssm_the_rest_of_the_released_weights_fits(name: str, request: pytest.FixtureRequest) -> None:
    recorded = load(name, request)
    network = build(RECORDED[name], recorded["config"], ModelOptions(ssm=False))
    found = network.load_state_dict(convert_state_dict(recorded["state_dict"], RECORDED[name]), strict=False)
    assert not found.missing_keys
    assert all(".norm." in key or ".mamba." in key for key in found.unexpected_keys)


def test_conversion_copies_nothing_and_takes_either_alias(request: pytest.FixtureRequest) -> None:
    weights = load("plain3d", request)["state_dict"]
    converted = convert_state_dict(weights, "nnunet")
    assert len(converted) == 48
    assert {value.data_ptr() for value in converted.values()} <= {value.data_ptr() for value in weights.values()}
    aliases = {name: value for name, value in weights.items() if ".conv." not in name and ".norm." not in name}
    again = convert_state_dict(aliases, "nnunet")
    assert again.keys() == converted.keys()
    assert all(torch.equal(again[name], value) for name, value in converted.items())


def test_shared_weights_that_differ_are_refused(request: pytest.FixtureRequest) -> None:
    weights: dict[str, Tensor] = dict(load("resenc2d", request)["state_dict"])
    alias = "encoder.stages.1.blocks.0.skip.1.all_modules.0.weight"
    weights[alias] = weights[alias] + 1
    with pytest.raises(UserError, match="differ") as caught:
        convert_state_dict(weights, "nnunet_resenc")
    assert alias in str(caught.value)


@pytest.mark.parametrize("model", ["nnunet", "umamba_enc_released", "umamba_bot_released"])
def test_weights_of_another_network_are_refused_and_named(model: str, request: pytest.FixtureRequest) -> None:
    with pytest.raises(UserError, match=model) as caught:
        convert_state_dict(load("resenc2d", request)["state_dict"], model)
    assert "nnunet_resenc" in (caught.value.remedy or "")
    assert "encoder.st" in (caught.value.found or "")


@pytest.mark.parametrize(
    "weights", [{}, {"layer.weight": torch.zeros(1)}, {"decoder.seg_layers.0.bias": torch.zeros(1)}]
)
def test_foreign_weights_are_refused(weights: dict[str, Tensor]) -> None:
    with pytest.raises(UserError, match="not those") as caught:
        convert_state_dict(weights, "nnunet")
    assert "encoder.stages.0.0.convs.0.conv" in (caught.value.expected or "")


def test_models_without_a_released_counterpart_are_refused() -> None:
    with pytest.raises(UserError, match="umamba_enc") as caught:
        convert_state_dict({}, "umamba_enc")
    assert "umamba_enc_released" in (caught.value.expected or "")
