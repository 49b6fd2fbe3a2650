"""Checks of the Triton kernels that need no GPU; a program, because Triton decides on import whether it interprets.

    TRITON_INTERPRET=1 python -m tests.kernels.triton_checks values    interpret the kernels on CPU
    python -m tests.kernels.triton_checks compile                      compile them for an NVIDIA GPU

Prints a JSON object. The interpreter takes milliseconds per token: most scans are cut into shorter spans than usual.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from itertools import combinations
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.kernels.scan.scans import all_finite, errors, extreme_inputs, make_inputs, run, without
from umseg.kernels.conv1d import triton as conv1d
from umseg.kernels.norm import triton as norm
from umseg.kernels.scan import triton as backend

ALL = ("D", "z", "delta_bias")
# (batch, channels, states, length), the options that are absent, the innermost axis, whether softplus, tokens per span
# and per chunk. 4 tokens per span make more spans than the carry takes at once.
CASES: dict[str, tuple[tuple[int, int, int, int], tuple[str, ...], str, bool, int, int]] = {
    "one token": ((2, 3, 4, 1), (), "time", True, 8, 4),
    "three tokens": ((1, 5, 8, 3), (), "channel", True, 8, 4),
    "a token less than a span": ((1, 1, 4, 7), (), "channel", True, 8, 4),
    "a span": ((2, 1, 8, 8), (), "neither", True, 8, 4),
    "nothing to pad": ((1, 32, 16, 5), (), "channel", True, 8, 4),
    "usual spans": ((1, 3, 4, 65), (), "time", True, 64, 16),
    "many spans": ((1, 1, 4, 73), ALL, "time", True, 4, 4),
    "32 states, two channel blocks": ((1, 37, 32, 9), (), "channel", True, 8, 4),
    "any strides": ((2, 3, 16, 17), (), "neither", True, 8, 4),
    "bare, without softplus": ((1, 3, 5, 10), ALL, "channel", False, 8, 4),
}
CASES |= {
    f"without {' and '.join(absent)}": ((1, 2, 4, 6), absent, "time", count == 1, 4, 4)
    for count in (1, 2)
    for absent in combinations(ALL, count)
}
# (batch, channels, length, width) and the innermost axis.
CONVOLUTIONS: dict[str, tuple[tuple[int, int, int, int], str]] = {
    "convolution of one token": ((1, 1, 1, 4), "time"),
    "convolution, two channel blocks": ((2, 35, 65, 4), "channel"),
    "convolution, any strides": ((1, 3, 130, 3), "neither"),
}
# Shape, whether with a residual, and the slope.
NORMS: dict[str, tuple[tuple[int, ...], bool, float]] = {
    "norm of one voxel": ((2, 3, 1, 1), False, 0.01),
    "norm, a residual and two tiles": ((2, 17, 20, 15), True, 0.01),
    "norm, two channel blocks": ((1, 130, 3, 4, 7), True, 0.01),
    "norm without activation": ((1, 2, 70, 60), False, 1.0),
    "norm of more tiles than are combined at once": ((1, 1, 90, 100), True, 0.01),
}


def cut_shorter(span: int, chunk: int) -> None:
    backend._SHORTEST = backend._LONGEST = span
    backend.CHUNK = chunk


def check_values() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, (sizes, absent, last, softplus, span, chunk) in CASES.items():
        cut_shorter(span, chunk)
        inputs = without(make_inputs(*sizes, last=last), absent)
        if not softplus:
            inputs[1] = inputs[1].abs() * 0.3  # type: ignore[union-attr]
        found[name] = errors(backend.scan, inputs, softplus)
    cut_shorter(8, 4)
    for dtype, size in ((torch.float32, 1e4), (torch.float32, -1e4), (torch.bfloat16, 1e4), (torch.float16, 1e4)):
        found[f"finite, {dtype}, steps {size:g}"] = all_finite(backend.scan, extreme_inputs(size, dtype, 6))
    inputs = make_inputs(1, 3, 4, 9)
    first, second = (run(backend.scan, inputs, True, torch.float32) for _ in range(2))
    found["bit-identical"] = all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    found["operators"] = operators_follow_the_rules()
    for name, (shape, last) in CONVOLUTIONS.items():
        found[name] = convolution_errors(shape, last)
    for name, case in NORMS.items():
        found[name] = norm_errors(*case)
    x, weights = torch.randn(2, 3, 5), torch.randn(3, 5)
    torch.library.opcheck(conv1d.forward_op, (x, weights), test_utils=("test_schema", "test_faketensor"))
    torch.library.opcheck(conv1d.backward_op, (x, x, weights), test_utils=("test_schema", "test_faketensor"))
    return found


def operators_follow_the_rules() -> bool:
    """Checks by torch; and whether the gradients are the same where the forward pass kept no states."""
    rules = ("test_schema", "test_faketensor")
    for full, last in ((True, "time"), (False, "channel")):
        inputs = [None if t is None else t.float() for t in make_inputs(1, 2, 4, 5, full=full, last=last)]
        torch.library.opcheck(backend.forward_op, (*inputs, True, True), test_utils=rules)
        y, kept = backend.forward_op(*inputs, True, True)
        torch.library.opcheck(backend.backward_op, (y, *inputs, True, kept), test_utils=rules)
    tracked = [t.requires_grad_() for t in inputs if t is not None]
    first, second = (
        torch.autograd.grad(backend.forward_op(*inputs, True, keep)[0].sum(), tracked) for keep in (True, False)
    )
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def convolution_errors(sizes: tuple[int, int, int, int], last: str) -> dict[str, float]:
    """Relative errors of the causal convolution of ``sizes`` (batch, channels, length, width)."""
    batch, channels, length, width = sizes
    weights = torch.randn(channels, width + 1, generator=torch.Generator().manual_seed(3))
    x = make_inputs(batch, channels, 4, length, last=last)[0]
    assert x is not None
    found = convolution(conv1d.forward_op, x.float(), weights)
    exact = convolution(
        lambda x, w: F.silu(F.conv1d(F.pad(x, (width - 1, 0)), w[:, None, :-1], w[:, -1], groups=channels)),
        x,
        weights.double(),
    )
    return {
        name: float((a - b).norm() / b.norm()) for name, a, b in zip(("y", "x", "weights"), found, exact, strict=True)
    }


def convolution(function: Callable[[Tensor, Tensor], Tensor], x: Tensor, weights: Tensor) -> list[Tensor]:
    x, weights = x.detach().requires_grad_(), weights.detach().requires_grad_()
    y = function(x, weights)
    upstream = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    return [y.detach(), *torch.autograd.grad(y, (x, weights), upstream.to(y))]


def norm_errors(shape: tuple[int, ...], with_residual: bool, slope: float) -> dict[str, float]:
    """Relative errors of the instance norm of voxels whose mean is large against their spread."""
    generator = torch.Generator().manual_seed(4)
    x = (torch.randn(shape, generator=generator) + 30).double()
    weight, bias = torch.randn(2, shape[1], generator=generator).double()
    residual = torch.randn(shape, generator=generator).double() if with_residual else None
    upstream = torch.randn(shape, generator=generator)
    exact = norm_and_gradients(torch_norm, x, residual, weight, bias, slope, upstream.double())
    single = [None if t is None else t.float() for t in (x, residual, weight, bias)]
    norm._TILE, norm._COMBINED["TILES"] = 256, 8
    found = norm_and_gradients(norm.forward_op, single[0], single[1], single[2], single[3], slope, upstream)
    names = ("y", "x", "weight", "bias", "residual")
    # A gradient that is 0 but for rounding, as that of one voxel is, has no relative error.
    return {n: float((a - b).norm() / b.norm().clamp(min=1)) for n, a, b in zip(names, found, exact, strict=False)}


def torch_norm(
    x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor, eps: float, slope: float
) -> tuple[Tensor]:
    axes = tuple(range(2, x.dim()))
    variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    shape = (-1, *(1,) * len(axes))
    y = (x - mean) / (variance + eps).sqrt() * weight.view(shape) + bias.view(shape)
    return (F.leaky_relu(y if residual is None else y + residual, slope),)


def norm_and_gradients(
    function: Callable[..., tuple[Tensor, ...]],
    x: Tensor | None,
    residual: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    slope: float,
    upstream: Tensor,
) -> list[Tensor]:
    """y and the gradients of x, weight, bias and residual."""
    x, residual, weight, bias = (None if t is None else t.requires_grad_() for t in (x, residual, weight, bias))
    y = function(x, residual, weight, bias, 1e-5, slope)[0]
    tracked = [t for t in (x, weight, bias, residual) if t is not None]
    return [y.detach(), *torch.autograd.grad(y, tracked, upstream)]


def check_compile() -> dict[str, Any]:
    """Of every kernel: the bytes of shared memory and the shuffles with which its lanes exchange values."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from umseg.kernels.conv1d import triton_kernels as conv
    from umseg.kernels.norm import triton_kernels
    from umseg.kernels.scan import triton_backward as back
    from umseg.kernels.scan import triton_forward as forward

    scan = {"PADDED": 16, "LANES": 32, "STAGES": 3}
    options = {"SOFTPLUS": True, "GATED": True}
    kernels = [
        (forward.summarise, {"SOFTPLUS": True, **scan}),
        (forward.carry, {"REVERSE": True, "LANES": 32}),
        (forward.outputs, {"KEEP": True, "CHUNK": 16, **options, **scan}),
        (back.summarise_adjoint, {**options, **scan}),
        (back.gradients, {"CHUNK": 16, **options, **scan}),
        (conv.forward, {"WIDTH": 4, "TOKENS": 64, "LANES": 32}),
        (conv.backward, {"WIDTH": 4, "TOKENS": 64, "LANES": 32}),
    ]
    tile = {"VOXELS": 256, "LANES": 32}
    norms = [
        (triton_kernels.measure, tile),
        (triton_kernels.combine, {"VOXELS": 256, "TILES": 1024, "LANES": 4}),
        (triton_kernels.normalize, {"SUM": True, **tile}),
        (triton_kernels.sum_gradients, tile),
        (triton_kernels.input_gradients, {"SUM": True, **tile}),
    ]
    kernels += norms
    floats, integers = (
        {"eps", "slope"},
        {"voxels", "tiles", "length", "channels", "batch_b", "row_b", "count", "extent", "chunks", "spans"},
    )
    found: dict[str, Any] = {}
    for kernel, constants in kernels:
        types = {n: "i32" if n in integers else "fp32" if n in floats else "*fp32" for n in kernel.arg_names}
        types |= dict.fromkeys(constants, "constexpr")
        # As in a launch: torch's memory is aligned, and a network's channels and states are multiples of 16.
        aligned = {
            (p.num,): [["tt.divisibility", 16]]
            for p in kernel.params
            if (types[p.name] == "*fp32" and not p.do_not_specialize_on_alignment)
            or p.name in ("channels", "row_b", "extent")
        }
        source = ASTSource(fn=kernel, signature=types, constexprs=constants, attrs=aligned)
        launch = {"num_warps": 1 if "STAGES" in constants or "REVERSE" in constants else 4, "enable_fp_fusion": True}
        done = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=launch)
        found[f"{kernel.__module__.rpartition('.')[2]}.{kernel.__name__}"] = {
            "shared": done.metadata.shared,
            "exchanges": done.asm["ptx"].count("shfl.sync"),
        }
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.stdout.write(json.dumps(check_values() if sys.argv[1] == "values" else check_compile()))
