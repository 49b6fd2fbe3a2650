"""The fused instance norm on an NVIDIA GPU."""

from __future__ import annotations

import pytest
import torch

from tests.kernels.triton_checks import NORMS, norm_and_gradients, torch_norm
from umseg.models.norm import InstanceNormAct

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no NVIDIA GPU"),
]
CASES = [
    *NORMS.values(),
    ((2, 32, 40, 56, 40), True, 0.01),
    ((3, 320, 5, 7, 6), True, 0.01),
    ((1, 8, 300, 301), False, 0.01),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("memory", ["contiguous", "channels_last"])
def test_equals_its_definition(memory: str, dtype: torch.dtype) -> None:
    for shape, with_residual, slope in CASES:
        check_definition(shape, with_residual, slope, memory, dtype)


def check_definition(
    shape: tuple[int, ...], with_residual: bool, slope: float, memory: str, dtype: torch.dtype
) -> None:
    """Output and gradients of one layer against torch's norm in double precision."""
    generator = torch.Generator().manual_seed(4)
    # Rounded to the dtype first: what is tested is the norm, not the rounding of its inputs.
    x = (torch.randn(shape, generator=generator) + 3).to(dtype)
    residual = torch.randn(shape, generator=generator).to(dtype) if with_residual else None
    upstream = torch.randn(shape, generator=generator).to(dtype)
    weight, bias = torch.randn(2, shape[1], generator=generator)

    layer = InstanceNormAct(shape[1], slope=slope).cuda()
    layer.weight.data, layer.bias.data = weight.cuda(), bias.cuda()
    inputs = [None if t is None else t.cuda() for t in (x, residual)]
    if memory == "channels_last":
        fitting = torch.channels_last if len(shape) == 4 else torch.channels_last_3d
        inputs = [None if t is None else t.contiguous(memory_format=fitting) for t in inputs]
    tracked = [None if t is None else t.requires_grad_() for t in inputs]
    y = layer(*tracked)
    wanted = [t for t in (tracked[0], layer.weight, layer.bias, tracked[1]) if t is not None]
    found = [y, *torch.autograd.grad(y, wanted, upstream.cuda())]

    doubles = [None if t is None else t.double() for t in (x, residual, weight, bias)]
    exact = norm_and_gradients(torch_norm, doubles[0], doubles[1], doubles[2], doubles[3], slope, upstream.double())
    allowed = 1e-5 if dtype == torch.float32 else 2e-2
    for a, b in zip(found, exact, strict=True):
        assert float((a.detach().cpu().double() - b).norm() / b.norm().clamp(min=1)) < allowed
    assert y.dtype == dtype


def test_two_runs_are_bit_identical() -> None:
    layer, x = InstanceNormAct(32).cuda(), torch.randn(2, 32, 40, 50, 60, device="cuda")
    tracked = [x.requires_grad_(), layer.weight, layer.bias]
    first, second = (torch.autograd.grad(layer(x).square().sum(), tracked) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_what_is_not_finite_shows(value: float) -> None:
    x = torch.randn(1, 2, 5, 6, device="cuda")
    x[0, 0, 2, 3] = value
    y = InstanceNormAct(2).cuda()(x)
    assert y[0, 0].isnan().any()
    assert y[0, 1].isfinite().all()
