"""What is computed again on the way back is what was there on the way forward, and is not kept meanwhile."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from umseg.kernels.runtime.saved_activations import computed_again, concatenated, recomputing
from umseg.models.blocks import ConvNormAct


def make_blocks() -> nn.ModuleList:
    torch.manual_seed(0)
    return nn.ModuleList(ConvNormAct(width, 4, (3, 3), (1, 1)) for width in (2, 4, 8))


def run(blocks: nn.ModuleList, x: Tensor, wanted: bool) -> list[Tensor]:
    """The result and all gradients of a row with a skip connection."""
    with recomputing(wanted):
        skip = blocks[0](x)
        out = blocks[2](concatenated(blocks[1](skip), skip))
    return [out.detach(), *torch.autograd.grad(out.square().sum(), [p for p in blocks.parameters() if p.requires_grad])]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_are_the_same_to_the_bit(dtype: torch.dtype) -> None:
    blocks, x = make_blocks(), torch.randn(2, 2, 9, 11)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        kept, again = (run(blocks, x, wanted) for wanted in (False, True))
    for a, b in zip(kept, again, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("wanted", [False, True])
def test_the_activation_between_two_convolutions_is_not_kept(wanted: bool) -> None:
    blocks = make_blocks()
    with recomputing(wanted):
        hidden = blocks[0](torch.randn(1, 2, 8, 8))
        address = hidden.data_ptr()
        out = blocks[1](hidden)
        saved = [tensor for tensor in _saved(out.grad_fn) if tensor.data_ptr() == address]
    assert bool(saved) is not wanted


def _saved(node: torch.autograd.graph.Node | None) -> list[Tensor]:
    """Inputs that the convolutions of a graph have saved."""
    if node is None:
        return []
    own: list[Tensor] = [node._saved_input] if node.name() == "ConvolutionBackward0" else []  # type: ignore[attr-defined]
    return own + [tensor for parent, _ in node.next_functions for tensor in _saved(parent)]


def test_a_change_in_place_is_what_counts() -> None:
    weight = torch.ones(3, requires_grad=True)
    x = torch.tensor([1.0, 2.0, 3.0])
    with recomputing(True):
        y = computed_again(x.clone(), x.clone)
        y.mul_(2)
        out = (y * weight).sum()
    assert torch.autograd.grad(out, weight)[0].tolist() == [2, 4, 6]


def test_views_are_made_from_the_whole() -> None:
    weight = torch.ones(2, requires_grad=True)
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    with recomputing(True):
        out = (computed_again(x.clone(), x.clone).T[1] * weight).sum()
    assert torch.autograd.grad(out, weight)[0].tolist() == [2, 4]


def test_outside_of_the_block_tensors_are_kept() -> None:
    weight = torch.ones(3, requires_grad=True)
    out = (computed_again(torch.full((3,), 5.0), lambda: torch.zeros(3)) * weight).sum()
    assert torch.autograd.grad(out, weight)[0].tolist() == [5, 5, 5]
