from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.inference.runtimes.compare import largest_difference, shaken
from tests.training.factories import make_configuration
from umseg.architectures.options import ModelOptions
from umseg.common.errors import UserError
from umseg.inference.runtimes.conversion import converted
from umseg.models.registry import build_network

TOLERANCE = 1e-4

U_NETS = [
    ("nnunet", True),
    ("nnunet_resenc", True),
    *((f"umamba_{kind}", ssm) for kind in ("enc", "bot", "enc_released", "bot_released") for ssm in (True, False)),
]


@pytest.mark.parametrize("patch", [(8, 8), (8, 8, 8)])
@pytest.mark.parametrize(("name", "ssm"), U_NETS)
def test_u_nets_compute_the_same(name: str, ssm: bool, patch: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    network = build_network(name, make_configuration(patch), 2, 3, options=ModelOptions(ssm=ssm))
    assert largest_difference(shaken(network), 2, patch, batch=3) < TOLERANCE


def test_deep_u_nets_of_thin_volumes_compute_the_same() -> None:
    """Strides and kernels that differ by axis, and joined upsampling in torch's form."""
    torch.manual_seed(0)
    configuration = make_configuration(
        (4, 32, 32),
        features_per_stage=(8, 16, 32),
        kernel_sizes=((1, 3, 3), (3, 3, 3), (3, 3, 3)),
        strides=((1, 1, 1), (1, 2, 2), (2, 2, 2)),
        num_pool_per_axis=(1, 2, 2),
        n_conv_per_stage=(2, 2, 2),
        n_conv_per_stage_decoder=(2, 2),
    )
    network = shaken(build_network("nnunet", configuration, 1, 4))
    assert largest_difference(network, 1, (4, 32, 32)) < TOLERANCE


@pytest.mark.parametrize("residual", [False, True])
def test_a_long_scan_in_chunks_computes_the_same(residual: bool) -> None:
    torch.manual_seed(0)
    configuration = make_configuration((10, 12, 14), strides=((1, 1, 1), (2, 2, 2)), num_pool_per_axis=(1, 1, 1))
    network = build_network("umamba_enc", configuration, 1, 3, options=ModelOptions(ssm_residual=residual))
    assert largest_difference(shaken(network), 1, (10, 12, 14), batch=2) < TOLERANCE


def test_a_constant_is_stored_once_and_by_its_name() -> None:
    network = build_network("nnunet", make_configuration((8, 8)), 1, 3)
    names = [tensor.name for tensor in converted(network, 1, 3, (8, 8)).graph.initializer]
    assert len(names) == len(set(names))
    assert set(names) <= set(network.state_dict()) | {name for name in names if name.startswith("constant")}
    assert "heads.0.weight" in names


class Sorted(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sort(dim=2).values


class Doubled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, x]) if x.sum() > 0 else x


class Regrouped(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.unsqueeze(0).expand(x.shape[0], -1, -1, -1, -1).flatten(0, 1)


@pytest.mark.parametrize(
    ("network", "message"),
    [(Sorted(), "aten.sort.default"), (Doubled(), "torch cannot trace it"), (Regrouped(), "every image of the batch")],
)
def test_what_cannot_be_converted_is_named(network: nn.Module, message: str) -> None:
    with pytest.raises(UserError, match="cannot be converted to ONNX") as error:
        converted(network, 1, 1, (8, 8))
    assert message in str(error.value)
