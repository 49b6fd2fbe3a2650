"""Every operator by itself: a module that calls it, in torch and in onnxruntime."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.inference.runtimes.compare import largest_difference
from umseg.common.errors import UserError
from umseg.inference.runtimes.conversion import HANDLERS, converted


class Calling(nn.Module):
    """A module that applies a function to images of two channels and 4 x 6 pixels."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.register_buffer("mask", torch.arange(12.0).reshape(2, 6) - 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "abs": torch.abs,
    "exp": torch.exp,
    "neg": torch.neg,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "sqrt": lambda x: torch.sqrt(x.abs()),
    "tanh": torch.tanh,
    "silu": F.silu,
    "elu": lambda x: F.elu(x, 0.7),
    "gelu": F.gelu,
    "gelu by tanh": lambda x: F.gelu(x, approximate="tanh"),
    "leaky relu": lambda x: F.leaky_relu(x, 0.2),
    "prelu": lambda x: F.prelu(x, torch.tensor([0.1, 0.4])),
    "softmax": lambda x: x.softmax(1),
    "dropout": lambda x: F.dropout(x, 0.5, training=False),
    "sums with factors": lambda x: torch.add(x, x.exp(), alpha=0.3) + 2,
    "differences with factors": lambda x: torch.sub(x, x.exp(), alpha=0.3) - 1,
    "difference from a number": lambda x: 1 - x,
    "products": lambda x: x * x * 1.5,
    "quotients": lambda x: x / (x.abs() + 1) / 3,
    "permute": lambda x: x.permute(0, 3, -2, 1),
    "transpose": lambda x: x.transpose(-1, 1),
    "select": lambda x: x.select(2, -1).unsqueeze(2) * x.select(3, 1).unsqueeze(3),
    "slice": lambda x: x[:, 1:, :-1, 1::2],
    "slice of all": lambda x: x[:, :, 0:4] + 0,
    "squeeze": lambda x: x[:, :1].squeeze(1).unsqueeze(-1),
    "squeeze several": lambda x: x[:, :1, :1].squeeze((1, 2)),
    "flatten": lambda x: x.flatten(1),
    "unflatten": lambda x: x.unflatten(3, (2, 3)).flatten(1, 2),
    "reshape with the batch": lambda x: x.reshape(x.shape[0] * 2, 4, 6).reshape(x.shape[0], 2, 24),
    "concatenate": lambda x: torch.cat([x, x.exp(), torch.ones(1, 2, 4, 6).expand(1, 2, 4, 6) * x], dim=2),
    "stack": lambda x: torch.stack([x, x.exp()], dim=-1),
    "split": lambda x: torch.cat([part.exp() for part in x.split(4, dim=3)], dim=3),
    "chunk": lambda x: x.chunk(2, dim=1)[1],
    "unbind": lambda x: x.unbind(1)[0],
    "pad": lambda x: F.pad(x, (1, 2, 0, 3), value=0.5),
    "pad by reflection": lambda x: F.pad(x, (1, 2, 2, 3), mode="reflect"),
    "pad by the edge": lambda x: F.pad(x, (1, 2, 2, 3), mode="replicate"),
    "roll": lambda x: torch.roll(x, shifts=(1, -2), dims=(2, 3)),
    "expand": lambda x: x[:, :1].expand(-1, 3, -1, -1),
    "flip": lambda x: x.flip((2, 3)),
    "convolution": lambda x: F.conv2d(x, torch.linspace(-1, 1, 24).reshape(4, 1, 3, 2), stride=2, padding=1, groups=2),
    "dilated convolution": lambda x: F.conv2d(x, torch.linspace(-1, 1, 8).reshape(1, 2, 2, 2), dilation=(1, 2)),
    "transposed convolution": lambda x: F.conv_transpose2d(
        x, torch.linspace(-1, 1, 36).reshape(2, 2, 3, 3), torch.ones(2), stride=2, padding=1, output_padding=1
    ),
    "largest of windows": lambda x: F.max_pool2d(x, 2),
    "largest of overlapping windows": lambda x: F.max_pool2d(x, (3, 2), stride=1, padding=1, ceil_mode=True),
    "mean of windows": lambda x: F.avg_pool2d(x, (2, 3)),
    "mean of padded windows": lambda x: F.avg_pool2d(x, 3, 1, 1, count_include_pad=False),
    "global mean": lambda x: F.adaptive_avg_pool2d(x, 1) + x,
    "mean along axes": lambda x: x.mean((2, 3), keepdim=True) + x,
    "nearest": lambda x: F.interpolate(x, scale_factor=(2, 3), mode="nearest"),
    "linear": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False),
    "linear between corners": lambda x: F.interpolate(x, size=(8, 12), mode="bilinear", align_corners=True),
    "instance norm": F.instance_norm,
    "instance norm of training": lambda x: F.instance_norm(
        x, torch.tensor([0.2, -0.3]), torch.tensor([2.0, 0.4]), use_input_stats=False
    ),
    "batch norm": lambda x: F.batch_norm(x, torch.tensor([0.2, -0.3]), torch.tensor([2.0, 0.4]), torch.ones(2) * 3),
    "group norm": lambda x: F.group_norm(x, 1),
    "group norm with weights": lambda x: F.group_norm(x, 2, torch.tensor([2.0, 3.0]), torch.tensor([0.1, 0.2])),
    "layer norm": lambda x: F.layer_norm(x, (4, 6)),
    "layer norm with weights": lambda x: F.layer_norm(x, (6,), torch.linspace(0, 2, 6), torch.linspace(-1, 1, 6)),
    "linear layer": lambda x: F.linear(x, torch.linspace(-1, 1, 18).reshape(3, 6), torch.ones(3)),
    "product of matrices": lambda x: x @ x.transpose(2, 3),
    "product of a batch": lambda x: torch.bmm(x[:, 0], x[:, 1].transpose(1, 2)),
    "sum over named axes": lambda x: torch.einsum("bcyx,bczx->bcyz", x, x),
    "attention": lambda x: F.scaled_dot_product_attention(x, x.exp(), -x),
    "attention with a mask": lambda x: F.scaled_dot_product_attention(x, x, x, torch.eye(4), scale=0.3),
    "a constant of the size of the image": lambda x: x * x.new_full((4, 6), 0.5),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_operator_computes_the_same(name: str) -> None:
    assert largest_difference(Calling(FUNCTIONS[name]), 2, (4, 6), batch=3) < 2e-6


REFUSED: dict[str, Callable[[Tensor], Tensor]] = {
    "no whole number": lambda x: F.interpolate(x, size=(6, 9), mode="bilinear"),
    "more than one voxel": lambda x: F.adaptive_avg_pool2d(x, 2),
    "rounds sizes up": lambda x: F.avg_pool2d(x, 4, ceil_mode=True),
    "causal": lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True),
    "several sizes": lambda x: torch.einsum("bcyx,dcyx->bd", x, x).unsqueeze(2),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_the_forms_of_an_operator_that_are_unknown_are_named(reason: str) -> None:
    with pytest.raises(UserError, match="cannot be converted to ONNX"):
        converted(Calling(REFUSED[reason]), 2, 2, (4, 6))


def test_the_table_has_the_operators_of_both_libraries() -> None:
    assert {name.partition(".")[0] for name in HANDLERS} == {"aten", "umseg"}
