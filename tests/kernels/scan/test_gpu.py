"""The scan and the convolution on an NVIDIA GPU.

``pytest -m gpu tests/kernels`` needs no more than torch, numpy, numba, triton, pydantic, safetensors and pytest.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.kernels.scan.scans import (
    NAMES,
    all_finite,
    errors,
    extreme_inputs,
    make_inputs,
    segmented_reference,
    selective_scan,
)
from umseg.kernels.conv1d.interface import causal_conv1d_silu
from umseg.kernels.runtime.obstacles import Obstacle
from umseg.kernels.scan import available_backends
from umseg.kernels.scan.interface import OBSTACLES
from umseg.kernels.scan.reference import scan as reference
from umseg.models.mamba import MambaBlock

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no NVIDIA GPU"),
]


@pytest.fixture(params=["triton", "mamba_ssm"])
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if not available_backends()[name]:
        pytest.skip(f"{name} cannot run here (umseg doctor says why)")
    return name


class OnGpu:
    """A backend as a function of tensors on CPU, which moves them there and back."""

    def __init__(self, backend: str) -> None:
        self.backend = backend

    def __call__(self, *arguments: Tensor | None) -> Tensor:
        *tensors, softplus = arguments
        inputs = [None if t is None else t.cuda() for t in tensors]
        return selective_scan(*inputs, delta_softplus=softplus, backend=self.backend).cpu()


def assert_close(backend: str, inputs: list[Tensor | None], softplus: bool = True) -> None:
    found = errors(OnGpu(backend), inputs, softplus)
    assert max(found.values()) < 1e-5, found


@pytest.mark.parametrize("states", [4, 8, 16, 32])
@pytest.mark.parametrize("channels", [1, 16, 37])
def test_values_and_gradients_equal_the_reference(backend: str, channels: int, states: int) -> None:
    for length in (1, 3, 63, 64, 65, 1000):
        assert_close(backend, make_inputs(2, channels, states, length))


@pytest.mark.parametrize("softplus", [True, False])
@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("last", ["time", "channel", "neither"])
def test_all_options_and_memory_layouts(backend: str, last: str, full: bool, softplus: bool) -> None:
    inputs = make_inputs(2, 50, 16, 700, full=full, last=last)
    if not softplus:
        # Steps below 0 would let the states grow beyond any number.
        for i in (1, NAMES.index("delta_bias")):
            inputs[i] = None if inputs[i] is None else inputs[i].abs() * 0.3  # type: ignore[union-attr]
    assert_close(backend, inputs, softplus)


@pytest.mark.parametrize("absent", ["D", "z", "delta_bias"])
def test_without_one_option(backend: str, absent: str) -> None:
    inputs = make_inputs(1, 20, 16, 200, last="channel")
    inputs[NAMES.index(absent)] = None
    assert_close(backend, inputs)


def test_a_long_sequence(backend: str) -> None:
    found = errors(OnGpu(backend), make_inputs(1, 35, 16, 89600, last="channel"), truth=segmented_reference)
    assert max(found.values()) < 1e-5, found


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", [1e4, -1e4, 1e2, -1e2])
def test_extreme_inputs_stay_finite(size: float, dtype: torch.dtype) -> None:
    assert all_finite(OnGpu("triton"), extreme_inputs(size, dtype))


def test_two_million_tokens_and_offsets_beyond_32_bits() -> None:
    """2^31 numbers and more: the last channels and tokens must be what they are in a scan of their own."""
    length, channels = 2_000_003, 1100
    if torch.cuda.mem_get_info()[0] < 6 * 4 * length * channels:
        pytest.skip("needs 53 GB of GPU memory")
    generator = torch.Generator("cuda").manual_seed(0)

    def sequence(size: int) -> Tensor:
        return torch.randn(1, length, size, generator=generator, device="cuda").transpose(1, 2)

    u, delta, B, C = sequence(channels), sequence(channels), sequence(4), sequence(4)
    A = -torch.rand(channels, 4, generator=generator, device="cuda")
    with torch.no_grad():
        y = selective_scan(u, delta, A, B, C, delta_softplus=True, backend="triton")
        few = [t[:, -3:].contiguous() for t in (u, delta)]
        alone = selective_scan(*few, A[-3:], B, C, delta_softplus=True, backend="triton")
    assert y[:, -3:].isfinite().all()
    torch.testing.assert_close(y[:, -3:], alone, rtol=1e-4, atol=1e-4)


def test_two_runs_are_bit_identical() -> None:
    inputs = [None if t is None else t.float().cuda().requires_grad_() for t in make_inputs(2, 70, 16, 3000)]
    present = [t for t in inputs if t is not None]
    first, second = (
        torch.autograd.grad(selective_scan(*inputs, delta_softplus=True, backend="triton").sum(), present)
        for _ in range(2)
    )
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_short_floats_come_back_in_their_dtype(backend: str, dtype: torch.dtype) -> None:
    inputs = [None if t is None else t.to(dtype) for t in make_inputs(1, 6, 4, 50)]
    exact = reference(*(None if t is None else t.double() for t in inputs), True)  # type: ignore[call-arg, arg-type]
    with torch.autocast("cuda", dtype=dtype):
        y = selective_scan(*(None if t is None else t.cuda() for t in inputs), delta_softplus=True, backend=backend)
    assert y.dtype == dtype
    torch.testing.assert_close(y.cpu().double(), exact, rtol=1e-2, atol=1e-2)


def test_the_block_compiles_into_one_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    # mamba-ssm's function is none of torch's operators and would cut the graph.
    monkeypatch.setitem(OBSTACLES, "mamba_ssm", Obstacle("hidden", "none"))
    block, tokens = MambaBlock(16).cuda(), torch.randn(1, 300, 16, device="cuda")
    expected = block(tokens)
    found = torch.compile(block, backend="aot_eager", fullgraph=True)(tokens)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("last", ["time", "channel"])
@pytest.mark.parametrize(("channels", "length", "width"), [(1, 1, 4), (35, 65, 4), (16, 4101, 3)])
def test_the_convolution_equals_its_definition(channels: int, length: int, width: int, last: str) -> None:
    x = make_inputs(2, channels, 4, length, last=last)[0]
    assert x is not None
    generator = torch.Generator().manual_seed(3)
    weight, bias = torch.randn(channels, 1, width, generator=generator), torch.randn(channels, generator=generator)
    inputs = [t.float().cuda().requires_grad_() for t in (x, weight, bias)]
    exact = [t.double().requires_grad_() for t in (x, weight, bias)]
    y = causal_conv1d_silu(*inputs)
    padded = F.pad(exact[0], (width - 1, 0))
    truth = F.silu(F.conv1d(padded, exact[1], exact[2], groups=channels))
    upstream = torch.randn(y.shape, generator=generator)
    found = [y, *torch.autograd.grad(y, inputs, upstream.cuda())]
    expected = [truth, *torch.autograd.grad(truth, exact, upstream.double())]
    for a, b in zip(found, expected, strict=True):
        assert (a.cpu() - b).norm() < 1e-5 * b.norm()
