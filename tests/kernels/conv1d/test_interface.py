from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from umseg.kernels.conv1d import interface, triton
from umseg.kernels.conv1d.interface import causal_conv1d_silu
from umseg.kernels.runtime.obstacles import OBSTACLES, Obstacle


def make_inputs(batch: int, channels: int, length: int, width: int = 4, last: str = "time") -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    if last == "time":
        x = torch.randn(batch, channels, length, generator=generator)
    elif last == "channel":
        x = torch.randn(batch, length, channels, generator=generator).transpose(1, 2)
    else:
        x = torch.randn(batch, 2 * channels, 2 * length, generator=generator)[:, ::2, ::2]
    weight = torch.randn(channels, 1, width, generator=generator)
    return [x, weight, torch.randn(channels, generator=generator)]


def expected_output(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The definition, token by token."""
    width = weight.shape[-1]
    padded = torch.cat([x.new_zeros(*x.shape[:2], width - 1), x], dim=-1)
    total = bias[:, None] + sum(weight[:, 0, k, None] * padded[..., k : k + x.shape[-1]] for k in range(width))
    return F.silu(total)


@pytest.mark.parametrize("last", ["time", "channel", "neither"])
@pytest.mark.parametrize("channels", [1, 16, 35])
@pytest.mark.parametrize("length", [1, 3, 31, 32, 33, 65, 4096, 4101])
def test_values_and_gradients_equal_the_definition(length: int, channels: int, last: str) -> None:
    inputs = [t.requires_grad_() for t in make_inputs(2, channels, length, last=last)]
    exact = [t.detach().double().requires_grad_() for t in inputs]
    y, truth = causal_conv1d_silu(*inputs), expected_output(*exact)
    upstream = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    found = [y, *torch.autograd.grad(y, inputs, upstream)]
    expected = [truth, *torch.autograd.grad(truth, exact, upstream.double())]
    for a, b in zip(found, expected, strict=True):
        assert (a - b).norm() < 1e-5 * b.norm()


@pytest.mark.parametrize("width", [1, 2, 3, 5, 7])
def test_other_widths(width: int) -> None:
    inputs = [t.requires_grad_() for t in make_inputs(1, 20, 40, width)]
    y, truth = causal_conv1d_silu(*inputs), expected_output(*inputs)
    torch.testing.assert_close(y, truth, rtol=1e-5, atol=1e-5)
    for a, b in zip(torch.autograd.grad(y.sum(), inputs), torch.autograd.grad(truth.sum(), inputs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_float64_and_missing_bias_go_through_torch() -> None:
    x, weight, _ = (t.double() for t in make_inputs(1, 5, 9))
    torch.testing.assert_close(causal_conv1d_silu(x, weight), expected_output(x, weight, x.new_zeros(5)))
    x, weight = x.float(), weight.float()
    torch.testing.assert_close(causal_conv1d_silu(x, weight), expected_output(x, weight, x.new_zeros(5)))


@settings(max_examples=25, deadline=None)
@given(length=st.integers(2, 80), data=st.data())
def test_a_token_changes_only_the_next_four_outputs(length: int, data: st.DataObject) -> None:
    changed = data.draw(st.integers(0, length - 1))
    x, weight, bias = make_inputs(1, 18, length)
    before = causal_conv1d_silu(x, weight, bias)
    x[..., changed] += 1
    different = (causal_conv1d_silu(x, weight, bias) != before).any(dim=1)[0]
    assert set(different.nonzero().flatten().tolist()) == set(range(changed, min(changed + 4, length)))


def test_two_runs_are_bit_identical_for_any_number_of_threads() -> None:
    inputs = [t.requires_grad_() for t in make_inputs(2, 40, 9000)]
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 3, 3):
            torch.set_num_threads(threads)
            y = causal_conv1d_silu(*inputs)
            results.append([y, *torch.autograd.grad(y.sum(), inputs)])
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_extreme_inputs_stay_finite() -> None:
    inputs = [(t * 1e4).requires_grad_() for t in make_inputs(1, 16, 50)]
    y = causal_conv1d_silu(*inputs)
    assert y.isfinite().all()
    assert all(g.isfinite().all() for g in torch.autograd.grad(y.sum(), inputs))


@pytest.mark.parametrize("last", ["time", "channel"])
def test_operators_follow_the_rules_of_torch(last: str) -> None:
    x, weight, bias = make_inputs(2, 18, 40, last=last)
    weights = torch.cat([weight[:, 0], bias[:, None]], dim=1)
    torch.library.opcheck(interface.forward_op, (x.requires_grad_(), weights.requires_grad_()))
    arguments = (x.detach(), x.detach(), weights.detach())
    torch.library.opcheck(interface.backward_op, arguments, test_utils=("test_schema", "test_faketensor"))


def test_a_gpu_runs_the_triton_kernel_where_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OBSTACLES, "triton", None)
    assert interface._fused("cuda") is triton.forward_op
    monkeypatch.setitem(OBSTACLES, "triton", Obstacle("it is not here", "fetch it"))
    assert interface._fused("cuda") is None
    assert interface._fused("cpu") is interface.forward_op


@pytest.mark.parametrize(
    ("x", "weight", "bias", "named"),
    [
        ((4, 8), (4, 1, 4), (4,), "x"),
        ((0, 4, 8), (4, 1, 4), (4,), "x"),
        ((1, 4, 8), (5, 1, 4), (4,), "weight"),
        ((1, 4, 8), (4, 4), (4,), "weight"),
        ((1, 4, 8), (4, 1, 4), (5,), "bias"),
    ],
)
def test_wrong_shapes_are_named(x: tuple[int, ...], weight: tuple[int, ...], bias: tuple[int, ...], named: str) -> None:
    with pytest.raises(ValueError, match=f"^{named} must be"):
        causal_conv1d_silu(torch.zeros(x), torch.zeros(weight), torch.zeros(bias))
