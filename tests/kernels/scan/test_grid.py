"""The CPU scan over a complete grid of shapes, options and memory layouts; gradcheck, extremes, tracing."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, fx
from torch._dynamo.testing import CompileCounterWithBackend

from tests.kernels.scan.exact_scan import exact_scan
from tests.kernels.scan.scans import NAMES, make_inputs, run, selective_scan, without
from umseg.kernels.conv1d.interface import causal_conv1d_silu
from umseg.kernels.scan import reference
from umseg.kernels.scan.interface import BACKENDS
from umseg.models.mamba import MambaBlock
from umseg.models.ssm import MambaLayer

OPTIONS = [absent for count in range(4) for absent in itertools.combinations(("D", "z", "delta_bias"), count)]
"""Which of the optional inputs are left out."""


def contiguous(t: Tensor) -> Tensor:
    return t.clone()


def reversed_axes(t: Tensor) -> Tensor:
    """The first axis innermost: for sequences time is outermost, then channels, then the batch."""
    axes = tuple(reversed(range(t.ndim)))
    return t.permute(axes).contiguous().permute(axes)


def channels_innermost(t: Tensor) -> Tensor:
    return t.transpose(1, 2).contiguous().transpose(1, 2) if t.ndim == 3 else t.clone()


def with_gaps(t: Tensor) -> Tensor:
    """Every second number along the last axis and every third along the others, of a larger tensor."""
    view = t.new_full([*(3 * size for size in t.shape[:-1]), 2 * t.shape[-1]], math.nan)[..., ::2]
    for axis in range(t.ndim - 1):
        view = view[(slice(None),) * axis + (slice(1, None, 3),)]
    return view.copy_(t)


def unaligned(t: Tensor) -> Tensor:
    """Rows of odd length in memory, from the second number on: no row starts where vectors like to."""
    rows = t.shape[-1] + 2 - t.shape[-1] % 2
    return t.new_full([*t.shape[:-1], rows + 1], math.nan)[..., 1 : 1 + t.shape[-1]].copy_(t)


LAYOUTS = (contiguous, channels_innermost, reversed_axes, with_gaps, unaligned)


def errors(
    inputs: list[Tensor | None], layouts: Sequence[Callable[[Tensor], Tensor]], softplus: bool = True
) -> dict[str, float]:
    """Relative errors in float32 of the output and of all gradients; the tensors take the layouts in turn."""
    assert inputs[0] is not None
    upstream = torch.randn(inputs[0].shape, generator=torch.Generator().manual_seed(1))
    single = [None if t is None else t.float() for t in inputs]
    # What the tensors lose on becoming float32 is none of the scan's errors.
    exact = exact_scan([None if t is None else t.double() for t in single], softplus, upstream.double())
    layout = itertools.cycle(layouts)
    tensors = [None if t is None else next(layout)(t).requires_grad_() for t in single]
    y = selective_scan(*tensors, delta_softplus=softplus, backend="cpu")
    present = [t for t in tensors if t is not None]
    found = [y.detach(), *torch.autograd.grad(y, present, next(layout)(upstream))]
    names = ["y", *(name for name, tensor in zip(NAMES, inputs, strict=True) if tensor is not None)]
    # One token gives no gradient to A.
    sizes = {name: float(t.norm().clamp(min=1e-12)) for name, t in zip(names, exact, strict=True)}
    if "delta_bias" in sizes:
        # The sum of the steps' gradients: with few channels it can cancel by chance, and be as small as one likes.
        sizes["delta_bias"] = max(sizes["delta_bias"], sizes["delta"])
    return {name: float((a - b).norm()) / sizes[name] for name, a, b in zip(names, found, exact, strict=True)}


@pytest.mark.parametrize("softplus", [True, False])
@pytest.mark.parametrize("absent", OPTIONS)
def test_the_truth_is_what_autograd_makes_of_the_reference(absent: tuple[str, ...], softplus: bool) -> None:
    inputs = without(make_inputs(2, 3, 4, 17), absent)
    if not softplus:
        inputs[1] = inputs[1].abs() * 0.3  # type: ignore[union-attr]
    expected = run(reference.scan, inputs, softplus, torch.float64)
    upstream = torch.randn(2, 3, 17, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for a, b in zip(exact_scan(inputs, softplus, upstream), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("states", [4, 8, 16, 32])
@pytest.mark.parametrize("length", [1, 3, 63, 64, 65, 1000])
def test_every_shape_with_every_option_in_every_layout(length: int, states: int) -> None:
    wrong = {}
    for channels, absent in itertools.product((1, 5, 37), OPTIONS):
        inputs = without(make_inputs(2, channels, states, length), absent)
        # Long ones are not repeated for every layout: each tensor takes another one.
        for layouts in [(layout,) for layout in LAYOUTS] if length < 100 else [LAYOUTS]:
            found = errors(inputs, layouts)
            if not max(found.values()) < 1e-5:
                wrong[channels, absent, tuple(layout.__name__ for layout in layouts)] = found
    assert not wrong


@pytest.mark.parametrize("states", [4, 8, 16, 32])
@pytest.mark.parametrize(("absent", "layout"), [((), channels_innermost), (("D", "z", "delta_bias"), unaligned)])
def test_the_benchmarks_length(absent: tuple[str, ...], layout: Callable[[Tensor], Tensor], states: int) -> None:
    found = errors(without(make_inputs(1, 3, states, 89600), absent), (layout,))
    assert max(found.values()) < 1e-5, found


@pytest.mark.parametrize("length", [1, 63, 65])
def test_raw_steps_in_every_layout(length: int) -> None:
    inputs = make_inputs(2, 19, 8, length)
    # No negative steps: the states would grow without end.
    inputs[1], inputs[7] = inputs[1].abs() * 0.3, inputs[7].abs()  # type: ignore[union-attr]
    for shift in range(len(LAYOUTS)):
        found = errors(inputs, LAYOUTS[shift:] + LAYOUTS[:shift], softplus=False)
        assert max(found.values()) < 1e-5, found


def test_tensors_that_repeat_one_number_in_memory() -> None:
    """Strides of zero, as ``expand`` makes them, and as the gradient of a sum has them."""
    sizes = [(3, 5, 66), (3, 5, 66), (5, 8), (3, 8, 66), (3, 8, 66), (5,), (3, 5, 66), (5,)]
    u, delta, A, *rest = (None if t is None else t.float() for t in make_inputs(1, 5, 8, 66))
    assert delta is not None
    inputs = [t.expand(size) for t, size in zip([u, delta[..., :1], A, *rest], sizes, strict=True) if t is not None]
    exact = exact_scan([t.double() for t in inputs], True, torch.ones(3, 5, 66, dtype=torch.float64))
    tensors = [t.detach().requires_grad_() for t in inputs]
    assert tensors[1].stride()[::2] == (0, 0)
    y = selective_scan(*tensors, delta_softplus=True, backend="cpu")
    for a, b in zip([y.detach(), *torch.autograd.grad(y.sum(), tensors)], exact, strict=True):
        assert (a - b).norm() < 1e-5 * b.norm()


def test_tensors_that_are_parts_of_one() -> None:
    """As a Mamba block hands them over: gate and values out of one product, B, C and the steps out of another."""
    torch.manual_seed(0)
    values, projected = torch.randn(2, 70, 10), torch.randn(2, 70, 5 + 16)
    A, D, bias = -torch.rand(5, 8), torch.randn(5), torch.randn(5)

    def scan(values: Tensor, projected: Tensor) -> list[Tensor | None]:
        u, z = values.transpose(1, 2).chunk(2, dim=1)
        delta, B, C = projected.transpose(1, 2).split([5, 8, 8], dim=1)
        return [u, delta, A, B, C, D, z, bias]

    leaves = [values.requires_grad_(), projected.requires_grad_()]
    upstream = torch.randn(2, 5, 70)
    found = torch.autograd.grad(selective_scan(*scan(*leaves), delta_softplus=True), leaves, upstream)
    exact = [None if t is None else t.detach().double() for t in scan(*leaves)]
    _, du, ddelta, _, dB, dC, _, dz, _ = exact_scan(exact, True, upstream.double())
    for a, b in zip(found, ([du, dz], [ddelta, dB, dC]), strict=True):
        torch.testing.assert_close(a.double(), torch.cat(b, dim=1).transpose(1, 2), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backend", [*BACKENDS, "auto"])
def test_an_empty_batch_is_refused_by_every_backend(backend: str) -> None:
    inputs = [None if t is None else t.float() for t in make_inputs(0, 4, 4, 8)]
    with pytest.raises(ValueError, match=r"nothing to scan: u is \(0, 4, 8\)"):
        selective_scan(*inputs, backend=backend)


def test_an_empty_batch_is_refused_by_the_layers() -> None:
    for call in (lambda: MambaBlock(4)(torch.zeros(0, 8, 4)), lambda: MambaLayer(4)(torch.zeros(0, 4, 2, 3))):
        with pytest.raises(ValueError, match="every size"):
            call()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("softplus", [True, False])
@pytest.mark.parametrize("absent", OPTIONS)
def test_gradients_of_the_reference(absent: tuple[str, ...], softplus: bool) -> None:
    inputs = without(make_inputs(1, 2, 2, 3), absent)
    places = [i for i, t in enumerate(inputs) if t is not None]

    def scan(*tensors: Tensor) -> Tensor:
        given: dict[int, Tensor] = dict(zip(places, tensors, strict=True))
        return selective_scan(*(given.get(i) for i in range(8)), delta_softplus=softplus)

    present = [t.requires_grad_() for t in inputs if t is not None]
    assert torch.autograd.gradcheck(scan, present)
    assert torch.autograd.gradgradcheck(scan, present)


def test_gradients_of_the_convolution_and_the_block_in_float64() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = (2, 3, 5), (3, 1, 4), (3,)
    given = [torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(causal_conv1d_silu, given)
    torch.manual_seed(0)
    block = MambaBlock(2, d_state=3, d_conv=2).double()
    names = [name for name, _ in block.named_parameters()]
    tokens = torch.randn(1, 4, 2, dtype=torch.float64, requires_grad=True)

    def call(tokens: Tensor, *parameters: Tensor) -> Tensor:
        out: Tensor = torch.func.functional_call(block, dict(zip(names, parameters, strict=True)), (tokens,))
        return out

    assert torch.autograd.gradcheck(call, (tokens, *block.parameters()))


def operators(graph: fx.GraphModule) -> Counter[str]:
    """How often each operator of ours stands in a graph and the graphs in it."""
    nodes = [node for part in graph.modules() if isinstance(part, fx.GraphModule) for node in part.graph.nodes]
    names = [str(node.target) for node in nodes if node.op == "call_function"]
    return Counter(name.removeprefix("umseg.") for name in names if name.startswith("umseg."))


def test_an_exported_block_has_one_scan_and_one_convolution() -> None:
    torch.manual_seed(0)
    block, tokens = MambaBlock(8).eval(), torch.randn(1, 40, 8)
    lengths = torch.export.Dim("lengths", min=2, max=100_000)
    with torch.no_grad():
        exported = torch.export.export(block, (tokens,), dynamic_shapes={"tokens": {1: lengths}})
    found = operators(exported.graph_module)
    assert found == {"selective_scan_cpu.default": 1, "causal_conv1d_silu_cpu.default": 1}
    # Nothing of the recurrence stands beside the operator: the only exponential makes A.
    nodes = [
        n for part in exported.graph_module.modules() if isinstance(part, fx.GraphModule) for n in part.graph.nodes
    ]
    assert sum(str(node.target) == "aten.exp.default" for node in nodes) == 1
    for length in (2, 333):
        tokens = torch.randn(1, length, 8)
        torch.testing.assert_close(exported.module()(tokens), block(tokens))


def test_a_compiled_block_is_one_graph_for_all_lengths() -> None:
    torch.manual_seed(0)
    block, counter = MambaBlock(8), CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(block, backend=counter, fullgraph=True, dynamic=True)
    for length in (40, 57, 64):
        tokens = torch.randn(2, length, 8)
        torch.testing.assert_close(compiled(tokens), block(tokens))
        gradients = []
        for function in (compiled, block):
            block.zero_grad()
            function(tokens).square().sum().backward()
            gradients.append([parameter.grad.clone() for parameter in block.parameters() if parameter.grad is not None])
        for a, b in zip(*gradients, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert counter.frame_count == 1


LONGEST = 2_000_000


def extreme_steps(length: int) -> Tensor:
    """(1, 4, length) steps before the softplus: the largest, the smallest, both at random, and some of every size."""
    generator = torch.Generator().manual_seed(0)
    signs = torch.randint(0, 2, (length,), generator=generator) * 2.0 - 1
    sizes = 10 ** torch.empty(length).uniform_(-4, 4, generator=generator)
    largest = torch.full((length,), 1e4)
    return torch.stack([largest, -largest, signs * largest, signs * sizes])[None]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_extremes_over_two_million_tokens_stay_finite(dtype: torch.dtype) -> None:
    """Sequences in ``dtype``, of size 1e4 each; the parameters are float32, as in a network."""
    generator = torch.Generator().manual_seed(1)

    def large(rows: int) -> Tensor:
        return torch.empty(1, rows, LONGEST).uniform_(-1e4, 1e4, generator=generator).to(dtype)

    A = -torch.exp(torch.linspace(-6, 6, 16)).reshape(4, 4)
    inputs = [
        large(4),
        extreme_steps(LONGEST).to(dtype),
        A,
        large(4),
        large(4),
        torch.ones(4),
        large(4),
        torch.zeros(4),
    ]
    leaves = [t.requires_grad_() for t in inputs]
    y = selective_scan(*leaves, delta_softplus=True)
    assert y.dtype == dtype
    assert y.isfinite().all()
    # As from a mean over all outputs, of size 1 before it.
    upstream = (torch.rand(y.shape, generator=generator) / y.numel()).to(dtype)
    names = [
        name for name, g in zip(NAMES, torch.autograd.grad(y, leaves, upstream), strict=True) if not g.isfinite().all()
    ]
    assert not names


@pytest.mark.parametrize(("dtype", "residual"), [(torch.bfloat16, False), (torch.float16, True)])
def test_a_layer_with_extreme_steps_stays_finite_in_short_floats(dtype: torch.dtype, residual: bool) -> None:
    """Features up to 1e4, and biases that make the steps up to 1e4, either sign, under autocast."""
    torch.manual_seed(0)
    layer = MambaLayer(4, residual)
    with torch.no_grad():
        layer.mamba.dt_proj.bias.copy_(torch.linspace(-1e4, 1e4, 8))
        torch.nn.init.normal_(layer.mamba.out_proj.weight)
    features = torch.empty(1, 4, 100, 100, 100).uniform_(-1e4, 1e4).to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        out = layer(features)
    assert out.dtype == dtype
    assert out.isfinite().all()
    out.float().mean().backward()
    assert features.grad is not None
    assert features.grad.isfinite().all()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in layer.parameters())
