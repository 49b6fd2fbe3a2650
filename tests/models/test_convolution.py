from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from umseg.models.convolution import Conv3d, replace_convolutions


@pytest.mark.parametrize(("size", "stride"), [((2, 4, 4), 1), ((2, 2, 2), 1), ((4, 4, 1), 2), ((4, 4, 4), 1)])
def test_gradients_of_thin_inputs_under_autocast(size: tuple[int, int, int], stride: int) -> None:
    torch.manual_seed(0)
    layer = Conv3d(64, 64, 3, padding=1, stride=stride)
    x = torch.randn(2, 64, *size)
    gradients: list[Tensor | None] = []
    for enabled in (False, True):
        layer.weight.grad = None
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            y = layer(x)
        y.float().square().sum().backward()
        gradients.append(layer.weight.grad)
    assert gradients[0] is not None
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0.05, atol=0.02 * float(gradients[0].abs().max()))


def test_larger_inputs_stay_in_sixteen_bits() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert Conv3d(2, 2, 3, padding=1)(torch.randn(1, 2, 3, 3, 3)).dtype == torch.bfloat16
        assert Conv3d(2, 2, 3, padding=1)(torch.randn(1, 2, 2, 3, 3)).dtype == torch.float32


def test_convolutions_of_others_are_replaced() -> None:
    inner = nn.Sequential(nn.Conv3d(2, 2, 1))
    network = nn.Sequential(nn.Conv3d(1, 2, 3), inner, nn.Conv2d(1, 1, 1))
    weight = network[0].weight
    replace_convolutions(network)
    assert [type(m) for m in (network[0], inner[0], network[2])] == [Conv3d, Conv3d, nn.Conv2d]
    assert network[0].weight is weight
