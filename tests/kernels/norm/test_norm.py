from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from umseg.kernels.norm.cpu import PIECE, backward_op, forward_op
from umseg.kernels.runtime import bits
from umseg.models.norm import NEGATIVE_SLOPE, InstanceNormAct

EPS = 1e-5

SHAPES = [
    (2, 3, 5, 7),
    (1, 32, 40, 28),
    (2, 8, 3, 4, 5),
    (3, 1, 2, 2, 2),
    (1, 17, 1, 9, 2),
    (1, 2, PIECE - 1, 1),
    (1, 2, PIECE, 1),
    (2, 3, PIECE + 1, 1),
    (1, 2, 2, PIECE, 1),
]


def layout(x: Tensor, name: str) -> Tensor:
    """The same values with other strides."""
    if name == "channels_last":
        return x.contiguous(memory_format=torch.channels_last if x.dim() == 4 else torch.channels_last_3d)
    if name == "strided":
        wide = torch.zeros(*x.shape[:-1], 2 * x.shape[-1], dtype=x.dtype)
        wide[..., ::2] = x
        return wide[..., ::2]
    return x.contiguous()


def make_inputs(shape: tuple[int, ...], *, residual: bool, seed: int = 0) -> tuple[Tensor, Tensor | None, Tensor]:
    """Input, residual and output gradient in float64, with values that bfloat16 holds exactly."""
    generator = torch.Generator().manual_seed(seed)

    def normal(mean: float = 0.0, spread: float = 1.0) -> Tensor:
        return (mean + spread * torch.randn(shape, generator=generator)).bfloat16().double()

    return normal(2, 3), normal() if residual else None, normal()


def make_layer(channels: int, dtype: torch.dtype = torch.float32) -> InstanceNormAct:
    generator = torch.Generator().manual_seed(1)
    layer = InstanceNormAct(channels)
    with torch.no_grad():
        layer.weight.copy_(torch.rand(channels, generator=generator) - 0.3)
        layer.bias.copy_(torch.rand(channels, generator=generator) - 0.5)
    return layer.to(dtype)


def compose(x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor) -> Tensor:
    """What the layer stands for, in torch's own operations."""
    out = F.instance_norm(x, weight=weight, bias=bias, eps=EPS)
    return F.leaky_relu(out if residual is None else out + residual, NEGATIVE_SLOPE)


def differentiate(
    layer: InstanceNormAct | None, x: Tensor, residual: Tensor | None, grad: Tensor, parameters: InstanceNormAct
) -> dict[str, Tensor]:
    """Output and all gradients; without a layer, those of the composition with the layer's parameters."""
    x = x.detach().requires_grad_()
    residual = None if residual is None else residual.detach().requires_grad_()
    if layer is None:
        weight = parameters.weight.detach().to(x.dtype).requires_grad_()
        bias = parameters.bias.detach().to(x.dtype).requires_grad_()
        out = compose(x, residual, weight, bias)
    else:
        weight, bias = layer.weight, layer.bias
        out = layer(x, residual)
    inputs = {"x": x, "weight": weight, "bias": bias} | ({} if residual is None else {"residual": residual})
    gradients = torch.autograd.grad(out, list(inputs.values()), grad)
    return {"out": out.detach(), **dict(zip(inputs, gradients, strict=True))}


def relative_errors(found: dict[str, Tensor], truth: dict[str, Tensor]) -> dict[str, float]:
    assert found.keys() == truth.keys()
    return {
        name: float((found[name].double() - truth[name]).abs().max() / truth[name].abs().max().clamp(min=1.0))
        for name in truth
    }


@pytest.mark.parametrize("residual", [False, True], ids=["plain", "residual"])
@pytest.mark.parametrize("memory", ["contiguous", "channels_last", "strided"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_torch_in_float32(shape: tuple[int, ...], memory: str, residual: bool) -> None:
    layer = make_layer(shape[1])
    x, rest, grad = make_inputs(shape, residual=residual)
    truth = differentiate(None, x, rest, grad, layer)
    x, grad = layout(x.float(), memory), layout(grad.float(), memory)
    rest = None if rest is None else layout(rest.float(), memory)
    found = differentiate(layer, x, rest, grad, layer)
    assert all(value.dtype == torch.float32 for value in found.values())
    assert found["out"].shape == shape
    errors = relative_errors(found, truth)
    assert max(errors.values()) < 1e-5, errors


@pytest.mark.parametrize("residual", [False, True], ids=["plain", "residual"])
@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (1, 17, 8, 9, 3), (2, 3, PIECE + 1, 1)], ids=str)
def test_bfloat16_is_rounded_float32(shape: tuple[int, ...], residual: bool) -> None:
    layer = make_layer(shape[1])
    x, rest, grad = make_inputs(shape, residual=residual)
    truth = differentiate(None, x, rest, grad, layer)
    rest = None if rest is None else rest.bfloat16()
    found = differentiate(layer, x.bfloat16(), rest, grad.bfloat16(), layer)
    assert found["out"].dtype == found["x"].dtype == torch.bfloat16
    assert found["weight"].dtype == torch.float32
    # One rounding at the end only: half a unit in the last of 8 binary places; the sums are float32.
    for name in set(found) - {"weight", "bias"}:
        torch.testing.assert_close(found[name].double(), truth[name], rtol=2**-8 + 1e-5, atol=1e-4)
    errors = relative_errors({n: found[n] for n in ("weight", "bias")}, {n: truth[n] for n in ("weight", "bias")})
    assert max(errors.values()) < 1e-5, errors


def test_residual_of_another_dtype_gets_its_own_gradient() -> None:
    layer = make_layer(3)
    x, rest, grad = make_inputs((1, 3, 4, 5), residual=True)
    assert rest is not None
    found = differentiate(layer, x.bfloat16(), rest.float(), grad.bfloat16(), layer)
    same = differentiate(layer, x.bfloat16(), rest.bfloat16(), grad.bfloat16(), layer)
    assert found["residual"].dtype == torch.float32
    assert torch.equal(found["residual"], same["residual"].float())
    assert torch.equal(found["out"], same["out"])


@pytest.mark.parametrize("residual", [False, True], ids=["plain", "residual"])
def test_float64_takes_torchs_path(residual: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("umseg.kernels.norm.cpu.norm_act", None)
    layer = make_layer(3, torch.float64)
    x, rest, grad = make_inputs((2, 3, 4, 5), residual=residual)
    errors = relative_errors(differentiate(layer, x, rest, grad, layer), differentiate(None, x, rest, grad, layer))
    assert max(errors.values()) < 1e-12, errors


def test_the_input_is_not_changed() -> None:
    for dtype in (torch.float32, torch.float64):
        layer = make_layer(3, dtype)
        x, rest, _ = make_inputs((2, 3, 4, 5), residual=True)
        x, rest = x.to(dtype), None if rest is None else rest.to(dtype)
        before = (x.clone(), None if rest is None else rest.clone())
        layer(x, rest)
        assert torch.equal(x, before[0])
        assert rest is not None
        assert before[1] is not None
        assert torch.equal(rest, before[1])


def test_large_mean_and_small_variance() -> None:
    x = torch.randn(2, 4, 50, 60, generator=torch.Generator().manual_seed(0)) + 1e4
    weight, bias = torch.ones(4), torch.zeros(4)
    _, mean, scale = forward_op(x, None, weight, bias, EPS, NEGATIVE_SLOPE)
    exact = x.double().flatten(2)
    torch.testing.assert_close(mean.double(), exact.mean(-1), rtol=1e-7, atol=0)
    torch.testing.assert_close(scale.double(), (exact.var(-1, unbiased=False) + EPS).rsqrt(), rtol=1e-6, atol=0)
    # float32 itself resolves only 1e-3 of a standard deviation here.
    truth = compose(x.double(), None, weight.double(), bias.double())
    torch.testing.assert_close(InstanceNormAct(4)(x).double(), truth, rtol=0, atol=3e-3)


@pytest.mark.parametrize("position", [0, 1, -1])
@pytest.mark.parametrize("outlier", [10.0, 1e3, 1e5])
def test_one_outlier_does_not_swallow_the_variance(position: int, outlier: float) -> None:
    x = torch.randn(1, 4, 90_000, 1, generator=torch.Generator().manual_seed(0))
    x[:, :, position] = outlier
    _, mean, scale = forward_op(x, None, torch.ones(4), torch.zeros(4), EPS, NEGATIVE_SLOPE)
    exact = x.double().flatten(2)
    torch.testing.assert_close(mean.double(), exact.mean(-1), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(scale.double(), (exact.var(-1, unbiased=False) + EPS).rsqrt(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("value", [0.0, -3.5, 1e4, 1e30])
def test_constant_input_stays_finite(value: float, dtype: torch.dtype) -> None:
    layer = make_layer(3)
    x = torch.full((1, 3, 6, 5), value, dtype=dtype)
    found = differentiate(layer, x, None, torch.ones_like(x), layer)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in found.values())
    if value < 1e5:
        expected = F.leaky_relu(layer.bias, NEGATIVE_SLOPE).detach().view(1, 3, 1, 1).expand(x.shape)
        torch.testing.assert_close(found["out"].float(), expected, rtol=1e-2, atol=2e-3 + 4e-5 * abs(value))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_shows(value: float) -> None:
    x = torch.randn(1, 2, 6, 5, generator=torch.Generator().manual_seed(0))
    x[0, 1, 3, 3] = value
    out = InstanceNormAct(2)(x)
    assert bool(torch.isfinite(out[0, 0]).all())
    assert bool(out[0, 1].isnan().any())


@pytest.mark.parametrize("residual", [False, True], ids=["plain", "residual"])
def test_slope_one_is_no_activation(residual: bool) -> None:
    x, rest, grad = (None if t is None else t.float() for t in make_inputs((2, 5, 6, 7), residual=residual))
    assert x is not None
    layer = InstanceNormAct(5, slope=1)
    layer.load_state_dict(make_layer(5).state_dict())
    inputs = [t.requires_grad_() for t in (x, rest, layer.weight, layer.bias) if t is not None]
    expected = F.instance_norm(x, weight=layer.weight, bias=layer.bias, eps=EPS)
    expected = expected if rest is None else expected + rest
    out = layer(x, rest)
    torch.testing.assert_close(out, expected)
    gradients = zip(torch.autograd.grad(out, inputs, grad), torch.autograd.grad(expected, inputs, grad), strict=True)
    for ours, theirs in gradients:
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_two_runs_are_bit_identical(dtype: torch.dtype) -> None:
    layer = make_layer(17)
    x, rest, grad = (None if t is None else t.to(dtype) for t in make_inputs((2, 17, 60, 50), residual=True))
    assert x is not None
    assert grad is not None
    first, second = (differentiate(layer, x, rest, grad, layer) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("residual", [False, True], ids=["plain", "residual"])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 1, 2, 3, 4), (1, 4, 1, 1, 6)], ids=str)
def test_custom_operators_keep_torchs_contract(shape: tuple[int, ...], residual: bool, dtype: torch.dtype) -> None:
    layer = make_layer(shape[1])
    x, rest, grad = (None if t is None else t.to(dtype) for t in make_inputs(shape, residual=residual))
    assert x is not None
    assert grad is not None
    arguments = (x.requires_grad_(), rest, layer.weight, layer.bias, EPS, NEGATIVE_SLOPE)
    torch.library.opcheck(forward_op, arguments)
    weight, bias = layer.weight.detach(), layer.bias.detach()
    y, mean, scale = forward_op(x.detach(), rest, weight, bias, EPS, NEGATIVE_SLOPE)
    for output in (y, None):
        torch.library.opcheck(
            backward_op, (grad, x.detach(), output, weight, bias, mean, scale, residual, NEGATIVE_SLOPE)
        )


@settings(deadline=None, max_examples=30)
@given(
    shift=st.floats(-50, 50),
    scale=st.floats(0.5, 20),
    channels=st.integers(1, 5),
    voxels=st.integers(2, 40),
    seed=st.integers(0, 2**31),
)
def test_shift_and_scale_of_a_channel_change_nothing(
    shift: float, scale: float, channels: int, voxels: int, seed: int
) -> None:
    x = torch.randn(1, channels, voxels, 3, generator=torch.Generator().manual_seed(seed))
    spread = x.flatten(2).std(-1).min()
    layer = make_layer(channels)
    moved, still = layer(x * scale + shift).detach(), layer(x).detach()
    # eps enters the variance: 1e-5 against spread squared, before and after scaling.
    allowed = 1e-4 * (1 + float(1 / spread) ** 2)
    torch.testing.assert_close(moved, still, rtol=0, atol=allowed * float(still.abs().max() + 1))


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**31), batch=st.integers(1, 3))
def test_samples_do_not_mix(seed: int, batch: int) -> None:
    x = torch.randn(batch, 3, 7, 6, generator=torch.Generator().manual_seed(seed))
    layer = make_layer(3)
    assert torch.equal(layer(x), torch.cat([layer(sample[None]) for sample in x]))


def test_threads_may_share_a_network() -> None:
    layer, x = make_layer(8), torch.randn(2, 8, 60, 60, requires_grad=True)
    (alone,) = torch.autograd.grad(layer(x).square().sum(), x)
    with ThreadPoolExecutor(2) as pool:
        tasks = [pool.submit(lambda: torch.autograd.grad(layer(x).square().sum(), x)[0]) for _ in range(20)]
        assert all(torch.equal(task.result(), alone) for task in tasks)


@njit
def convert(wide, narrow, wide_out, out):  # type: ignore[no-untyped-def]
    for i in range(wide.size):
        out[i] = bits.float_to_bfloat16(wide[i])
    for i in range(narrow.size):
        wide_out[i] = bits.bfloat16_to_float(narrow[i])


compiled: Callable[..., None] = convert


def to_bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    out = np.empty(values.size, np.uint16)
    compiled(values, np.empty(0, np.uint16), np.empty(0, np.float32), out)
    return out


def test_every_bfloat16_is_read_exactly() -> None:
    narrow = np.arange(2**16, dtype=np.uint16)
    wide = np.empty(2**16, np.float32)
    compiled(np.empty(0, np.float32), narrow, wide, np.empty(0, np.uint16))
    assert np.array_equal(wide.view(np.uint32), narrow.astype(np.uint32) << 16)
    number = ~np.isnan(wide)
    assert np.array_equal(to_bfloat16(wide)[number], narrow[number])


def test_bfloat16_is_rounded_like_torch() -> None:
    random = np.random.default_rng(0).integers(0, 2**32, 200_000, dtype=np.uint64).astype(np.uint32)
    ties = (np.arange(2**16, dtype=np.uint32) << 16) | 0x8000
    special = np.array(
        [0.0, -0.0, np.inf, -np.inf, 1e-45, -1e-40, 1.1754944e-38, 3.4028235e38, -3.4028235e38, 1.0], np.float32
    )
    values = np.concatenate([np.concatenate([random, ties, ties - 1, ties + 1]).view(np.float32), special])
    values = values[~np.isnan(values)]
    expected = torch.from_numpy(values).bfloat16().view(torch.int16).numpy().view(np.uint16)
    assert np.array_equal(to_bfloat16(values), expected)


def test_nan_stays_nan_in_bfloat16() -> None:
    # A NaN whose payload lies only in the lower half would turn into infinity by cutting.
    patterns = np.array([0x7F800001, 0x7FFFFFFF, 0x7FC00000, 0xFF800001, 0xFFFFFFFF], np.uint32)
    out = torch.from_numpy(to_bfloat16(patterns.view(np.float32)).view(np.int16)).view(torch.bfloat16)
    assert bool(out.isnan().all())


def test_bit_helpers_work_only_in_kernels() -> None:
    with pytest.raises(TypeError, match="numba kernels"):
        bits.load(1.0)
    with pytest.raises(TypeError, match="numba kernels"):
        bits.store(1.0, 1.0)
