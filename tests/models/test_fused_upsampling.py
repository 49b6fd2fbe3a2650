"""The convolution of joined features is that of the upsampled features beside the skip."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from tests.models.plans import HIPPOCAMPUS, SMALL
from umseg.models import fused_upsampling
from umseg.models.blocks import convolution, transposed_convolution
from umseg.models.convolution import Conv2d, Conv3d, before_norm
from umseg.models.fused_upsampling import Joined, joined
from umseg.models.registry import build_network

CASES: list[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = [
    ((3, 3, 3), (2, 2, 2), (3, 4, 5)),
    ((3, 3, 3), (2, 2, 2), (1, 1, 1)),
    ((3, 3, 3), (1, 2, 2), (3, 1, 5)),
    ((1, 3, 3), (1, 2, 2), (3, 4, 5)),
    ((1, 1, 1), (2, 2, 2), (3, 4, 2)),
    ((5, 3, 1), (2, 2, 2), (2, 3, 3)),
    ((3, 3), (2, 2), (3, 1)),
    ((3, 3), (2, 1), (4, 2)),
]
"""Kernel, stride, size below."""


class Parts:
    """A transposed convolution, a convolution, and what goes into them."""

    def __init__(
        self,
        kernel: Sequence[int],
        stride: Sequence[int],
        size: Sequence[int],
        channels: tuple[int, int, int, int] = (6, 4, 3, 5),
        dtype: torch.dtype = torch.float64,
    ) -> None:
        torch.manual_seed(0)
        below, upsampled, skip, out = channels
        dimensions = len(kernel)
        strides, padding = tuple(stride), tuple(k // 2 for k in kernel)
        self.up = transposed_convolution(dimensions)(below, upsampled, strides, strides).to(dtype)
        self.conv: Conv2d | Conv3d = convolution(dimensions)(upsampled + skip, out, tuple(kernel), padding=padding)
        self.conv.to(dtype)
        large = [n * s for n, s in zip(size, stride, strict=True)]
        self.below = torch.randn(2, below, *size, dtype=dtype, requires_grad=True)
        self.skip = torch.randn(2, skip, *large, dtype=dtype, requires_grad=True)

    def separate(self) -> Tensor:
        out: Tensor = self.conv(torch.cat((self.up(self.below), self.skip), dim=1))
        return out

    def joined(self) -> Tensor:
        out: Tensor = self.conv.forward_joined(Joined(self.below, self.up, self.skip))
        return out

    def gradients(self, out: Tensor) -> tuple[Tensor, ...]:
        torch.manual_seed(1)
        leaves = [self.below, self.skip, *self.up.parameters(), *self.conv.parameters()]
        return torch.autograd.grad(out, leaves, torch.randn(out.shape).to(out.dtype))


@pytest.mark.parametrize(("kernel", "stride", "size"), CASES)
def test_values_and_gradients_are_those_of_the_concatenation(
    kernel: tuple[int, ...], stride: tuple[int, ...], size: tuple[int, ...]
) -> None:
    parts = Parts(kernel, stride, size)
    expected, found = parts.separate(), parts.joined()
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    for a, b in zip(parts.gradients(found), parts.gradients(expected), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("kernel", "stride", "size"), CASES)
def test_before_a_norm_only_a_constant_is_left_out(
    kernel: tuple[int, ...], stride: tuple[int, ...], size: tuple[int, ...]
) -> None:
    parts = Parts(kernel, stride, size)
    expected = parts.separate()
    before_norm(parts.conv)
    difference = (expected - parts.joined()).flatten(2)
    assert difference.abs().max() > 1e-3
    torch.testing.assert_close(difference, difference[..., :1].expand_as(difference), rtol=0, atol=1e-12)


def test_without_biases() -> None:
    parts = Parts((3, 3), (2, 2), (3, 4))
    parts.up.bias = parts.conv.bias = None
    torch.testing.assert_close(parts.joined(), parts.separate(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [(3, 3, 3), (3, 4, 8), (10, 4, 3)])
def test_bfloat16_stays_close(size: tuple[int, ...]) -> None:
    """Also the gradients, which oneDNN gets wrong for thinner inputs."""
    parts = Parts((3, 3, 3), (2, 2, 2), size, (64, 32, 32, 32), torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = parts.joined()
    assert found.dtype == torch.bfloat16
    expected = parts.separate()
    for a, b in zip([found, *parts.gradients(found)], [expected, *parts.gradients(expected.bfloat16())], strict=True):
        assert (a - b).norm() < 0.01 * b.norm()


def test_joins_where_it_saves_more_than_composing_costs() -> None:
    parts = Parts((3, 3, 3), (2, 2, 2), (6, 6, 6))
    assert isinstance(joined(parts.below, parts.up, parts.skip, (3, 3, 3)), Joined)
    parts = Parts((3, 3, 3), (2, 2, 2), (4, 4, 4), (64, 32, 32, 32))
    found = joined(parts.below, parts.up, parts.skip, (3, 3, 3))
    assert isinstance(found, Tensor)
    assert found.shape == (2, 64, 8, 8, 8)


def test_thin_inputs_are_concatenated() -> None:
    parts = Parts((3, 3, 3), (2, 2, 2), (2, 60, 60))
    assert isinstance(joined(parts.below, parts.up, parts.skip, (3, 3, 3)), Tensor)


def test_other_upsamplings_are_concatenated() -> None:
    parts = Parts((3, 3), (2, 2), (60, 60), (3, 3, 3, 3))
    found = joined(parts.below, nn.Upsample(scale_factor=2.0), parts.skip, (3, 3))
    assert isinstance(found, Tensor)
    assert found.shape == (2, 6, 120, 120)
    assert isinstance(joined(parts.below, parts.up, None, (3, 3)), Tensor)


@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.parametrize("model", ["nnunet", "umamba_bot", "nnunet_resenc"])
def test_networks_give_what_they_give_with_concatenations(
    model: str, checkpointed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    network = build_network(model, HIPPOCAMPUS, 1, 3, True)
    for name, parameter in network.named_parameters():
        if name.startswith("upsamplings") and name.endswith("bias"):
            nn.init.normal_(parameter)
    network.checkpoint_activations = checkpointed  # type: ignore[assignment]
    image = torch.randn(1, 1, *HIPPOCAMPUS.patch_size)
    joins: list[Joined] = []
    convolved = Joined.convolved

    def count(self: Joined, weight: Tensor, bias: Tensor | None, constant_matters: bool) -> Tensor:
        joins.append(self)
        return convolved(self, weight, bias, constant_matters)

    def run() -> list[Tensor]:
        joins.clear()
        scores = network(image)
        loss = torch.stack([score.square().mean() for score in scores]).sum()
        trained = [p for p in network.parameters() if p.requires_grad]
        return [*scores, *torch.autograd.grad(loss, trained)]

    monkeypatch.setattr(Joined, "convolved", count)
    found = run()
    assert joins
    monkeypatch.setattr(fused_upsampling, "WORTH", float("inf"))
    expected = run()
    assert not joins
    for a, b in zip(found, expected, strict=True):
        assert (a - b).norm() <= 1e-3 * b.norm()


@pytest.mark.parametrize("model", ["nnunet", "umamba_bot"])
def test_networks_are_one_graph(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_upsampling, "WORTH", 0)
    torch.manual_seed(0)
    network = build_network(model, SMALL["3d"], 1, 3, True)
    image = torch.randn(1, 1, *SMALL["3d"].patch_size)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    for a, b in zip(compiled(image), network(image), strict=True):
        torch.testing.assert_close(a, b)
