from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from umseg.models.blocks import (
    AveragePool,
    ConvNormAct,
    ResidualBlock,
    convolution,
    initialize,
    pooled_block,
    projected_block,
    transposed_convolution,
)
from umseg.models.norm import InstanceNormAct


def test_classes_by_dimension() -> None:
    assert isinstance(convolution(2)(1, 1, 3), nn.Conv2d)
    assert isinstance(convolution(3)(1, 1, 3), nn.Conv3d)
    assert isinstance(transposed_convolution(2)(1, 1, 2), nn.ConvTranspose2d)
    assert isinstance(transposed_convolution(3)(1, 1, 2), nn.ConvTranspose3d)


@pytest.mark.parametrize("block", [ConvNormAct, ResidualBlock, projected_block, pooled_block])
@pytest.mark.parametrize(
    ("kernel", "stride", "shape", "expected"),
    [
        ((3, 3), (1, 1), (5, 8), (5, 8)),
        ((3, 3), (2, 2), (6, 8), (3, 4)),
        ((1, 3, 3), (1, 2, 2), (3, 6, 8), (3, 3, 4)),
        ((3, 5, 3), (2, 1, 4), (4, 6, 8), (2, 6, 2)),
    ],
)
def test_shapes(
    block: type[nn.Module], kernel: tuple[int, ...], stride: tuple[int, ...], shape: tuple[int, ...], expected: object
) -> None:
    out = block(3, 5, kernel, stride)(torch.randn(2, 3, *shape))
    assert out.shape[:2] == (2, 5)
    assert tuple(out.shape[2:]) == expected


def test_layer_is_convolution_norm_activation() -> None:
    torch.manual_seed(0)
    layer = ConvNormAct(2, 3, (3, 3), (2, 2))
    x = torch.randn(1, 2, 8, 6)
    conv = layer[0]
    assert isinstance(conv, nn.Conv2d)
    expected = F.leaky_relu(
        F.instance_norm(F.conv2d(x, conv.weight, conv.bias, stride=2, padding=1)), negative_slope=0.01
    )
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize(
    ("in_channels", "stride", "identity"), [(4, (1, 1), True), (3, (1, 1), False), (4, (1, 2), False)]
)
def test_shortcut_is_the_identity_where_shapes_allow(in_channels: int, stride: tuple[int, int], identity: bool) -> None:
    torch.manual_seed(0)
    block = ResidualBlock(in_channels, 4, (3, 3), stride)
    assert isinstance(block.shortcut, nn.Identity) is identity
    x = torch.randn(2, in_channels, 6, 8)
    shortcut = x
    if not identity:
        conv = block.shortcut
        assert isinstance(conv, nn.Conv2d)
        assert conv.kernel_size == (1, 1)
        shortcut = F.conv2d(x, conv.weight, conv.bias, stride=stride)
    inner = F.instance_norm(block.second(block.first(x)))
    torch.testing.assert_close(block(x), F.leaky_relu(inner + shortcut, 0.01))


def test_projected_block_projects_where_shapes_match_too() -> None:
    assert isinstance(projected_block(4, 4, (3, 3), (1, 1)).shortcut, nn.Conv2d)


@pytest.mark.parametrize(
    ("in_channels", "stride", "layers"),
    [
        (4, (1, 1, 1), []),
        (3, (1, 1, 1), ["conv", "norm"]),
        (4, (1, 2, 2), ["pool"]),
        (3, (2, 2, 2), ["pool", "conv", "norm"]),
    ],
)
def test_pooled_block_starts_as_its_shortcut(in_channels: int, stride: tuple[int, ...], layers: list[str]) -> None:
    torch.manual_seed(0)
    block = pooled_block(in_channels, 4, (3, 3, 3), stride)
    assert [name for name, _ in block.shortcut.named_children()] == layers
    x = torch.randn(2, in_channels, 4, 6, 8)
    shortcut = F.avg_pool3d(x, stride, stride)
    if "conv" in layers:
        conv = block.shortcut.get_submodule("conv")
        assert isinstance(conv, nn.Conv3d)
        assert conv.bias is None
        shortcut = F.instance_norm(F.conv3d(shortcut, conv.weight))
    torch.testing.assert_close(block(x), F.leaky_relu(shortcut, 0.01))


@pytest.mark.parametrize("stride", [(1, 2, 2), (2, 2, 2), (3, 1, 2), (2, 2)])
def test_average_pool_is_torchs_and_keeps_layout_and_precision(stride: tuple[int, ...]) -> None:
    flat = len(stride) == 2
    layout = torch.channels_last if flat else torch.channels_last_3d
    x = torch.randn(2, 3, 6, 6, *(() if flat else (4,)), dtype=torch.float64)
    expected = (F.avg_pool2d if flat else F.avg_pool3d)(x, stride, stride)
    torch.testing.assert_close(AveragePool(stride)(x), expected)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = AveragePool(stride)(x.bfloat16().contiguous(memory_format=layout))
    assert rounded.dtype == torch.bfloat16
    assert rounded.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("make", [nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d])
def test_initialisation_is_kaiming_with_zero_bias(make: type[nn.Conv2d]) -> None:
    torch.manual_seed(0)
    layer = make(64, 48, 3)
    initialize(layer)
    layer.requires_grad_(False)
    # Transposed convolutions count the fan-in of torch's definition: the second axis of the weight.
    fan = layer.weight.shape[1] * math.prod(layer.kernel_size)
    assert float(layer.weight.std()) == pytest.approx(math.sqrt(2 / (1 + 0.01**2) / fan), rel=0.02)
    assert abs(float(layer.weight.mean())) < 1e-3
    assert layer.bias is not None
    assert not bool(layer.bias.any())


def test_initialisation_accepts_a_convolution_without_bias() -> None:
    layer = nn.Conv2d(2, 2, 1, bias=False)
    initialize(layer)
    assert layer.bias is None


@pytest.mark.parametrize("layer", [nn.Linear(3, 3), nn.Conv1d(3, 3, 4), InstanceNormAct(3)])
def test_initialisation_leaves_other_layers_alone(layer: nn.Module) -> None:
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    initialize(layer)
    assert all(torch.equal(before[name], value) for name, value in layer.state_dict().items())


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("block", [ConvNormAct, ResidualBlock, pooled_block])
def test_the_bias_before_a_norm_is_kept_and_changes_nothing(block: Callable[..., nn.Module], dimensions: int) -> None:
    layer = block(2, 2, (3,) * dimensions, (1,) * dimensions).double()
    x = torch.randn(1, 2, *(5, 6, 7)[:dimensions], dtype=torch.float64)
    expected = layer(x)
    biases = [m.bias for m in layer.modules() if isinstance(m, (nn.Conv2d, nn.Conv3d)) and m.bias is not None]
    assert biases
    for bias in biases:
        assert not bias.requires_grad
        bias.data += 3
    assert torch.equal(layer(x), expected)
    assert any(name.endswith("bias") and value[0] > 2 for name, value in layer.state_dict().items())
