"""Inputs of the selective scan, and how far a backend is from the float64 reference."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

import umseg.kernels.scan
from umseg.kernels.scan import reference

NAMES = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")

selective_scan: Callable[..., Tensor] = umseg.kernels.scan.selective_scan
"""The scan for operands in a list, whose number a type checker cannot know."""


def make_inputs(
    batch: int, channels: int, states: int, length: int, *, full: bool = True, last: str = "time", seed: int = 0
) -> list[Tensor | None]:
    """float64 tensors in the order of ``NAMES``; ``last`` names the axis that is contiguous in memory."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def sequence(size: int) -> Tensor:
        if last == "time":
            return normal(batch, size, length)
        if last == "channel":
            return normal(batch, length, size).transpose(1, 2)
        return normal(batch, 2 * size, 3 * length)[:, ::2, ::3]

    delta = sequence(channels)
    return [
        sequence(channels),
        delta if full else delta.abs(),
        -torch.exp(normal(channels, states)),
        sequence(states),
        sequence(states),
        normal(channels) if full else None,
        sequence(channels) if full else None,
        normal(channels) if full else None,
    ]


def without(inputs: list[Tensor | None], absent: Sequence[str]) -> list[Tensor | None]:
    """``make_inputs`` less some of the options."""
    return [None if name in absent else tensor for name, tensor in zip(NAMES, inputs, strict=True)]


def recast(t: Tensor, dtype: torch.dtype) -> Tensor:
    """The same numbers in the same places; ``Tensor.to`` would close the gaps between them."""
    return torch.empty_strided(t.shape, t.stride(), dtype=dtype).copy_(t)


def run(scan: Callable[..., Tensor], inputs: list[Tensor | None], softplus: bool, dtype: torch.dtype) -> list[Tensor]:
    """The output and the gradients of all tensors."""
    tensors = [None if t is None else recast(t, dtype).requires_grad_() for t in inputs]
    y = scan(*tensors, softplus)
    upstream = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    present = [t for t in tensors if t is not None]
    return [y.detach(), *torch.autograd.grad(y, present, upstream.to(y))]


def segmented_reference(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor, bias: Tensor, softplus: bool
) -> Tensor:
    """The reference for long sequences: segments side by side from zero, then what each brings into the next.

    sqrt(length) steps of the loop twice instead of length.
    """
    size = math.isqrt(u.shape[2])
    while u.shape[2] % size:
        size -= 1
    steps = delta + bias[:, None]
    steps = (F.softplus(steps) if softplus else steps).unflatten(2, (-1, size))
    b, c = (t.unflatten(2, (-1, size)).unsqueeze(1) for t in (B, C))
    driven = steps * u.unflatten(2, (-1, size))
    # (batch, channels, states, segments) from here on.
    h = u.new_zeros(*u.shape[:2], A.shape[1], u.shape[2] // size)
    local, decays, total = [], [], torch.zeros_like(h[:, :, 0])
    for t in range(size):
        total = total + steps[..., t]
        h = torch.exp(A[:, :, None] * steps[:, :, None, :, t]) * h + driven[:, :, None, :, t] * b[..., t]
        local.append((h * c[..., t]).sum(2))
        decays.append(torch.exp(A[:, :, None] * total[:, :, None]) * c[..., t])
    carried, before = torch.zeros_like(h[..., 0]), []
    for s in range(h.shape[3]):
        before.append(carried)
        carried = torch.exp(A * total[:, :, None, s]) * carried + h[..., s]
    start = torch.stack(before, dim=-1)
    y = torch.stack([y + (decay * start).sum(2) for y, decay in zip(local, decays, strict=True)], dim=-1)
    return (y.flatten(2) + D[:, None] * u) * F.silu(z)


def errors(
    scan: Callable[..., Tensor],
    inputs: list[Tensor | None],
    softplus: bool = True,
    truth: Callable[..., Tensor] = reference.scan,
) -> dict[str, float]:
    """Relative errors in float32, of the output and of the gradients, against the float64 reference."""
    exact = run(truth, inputs, softplus, torch.float64)
    found = run(scan, inputs, softplus, torch.float32)
    names = ["y", *(name for name, tensor in zip(NAMES, inputs, strict=True) if tensor is not None)]
    return {
        name: float((value - expected).norm() / expected.norm().clamp(min=1e-12))
        for name, expected, value in zip(names, exact, found, strict=True)
    }


def extreme_inputs(size: float, dtype: torch.dtype = torch.float32, length: int = 100) -> list[Tensor | None]:
    """Inputs and gates up to 1e4 and raw steps of ``size`` (of either sign), rounded to ``dtype``, in float32."""
    u, delta, A, B, C, D, z, bias = make_inputs(1, 16, 16, length)
    assert u is not None
    assert delta is not None
    assert z is not None
    delta = torch.full_like(delta, size)
    delta[:, ::2] *= torch.rand(1, 8, length, generator=torch.Generator().manual_seed(2))
    u, z = (u * 1e4).clamp(-1e4, 1e4), (z * 1e4).clamp(-1e4, 1e4)
    return [None if t is None else t.to(dtype).float() for t in (u, delta, A, B, C, D, z, bias)]


def all_finite(scan: Callable[..., Tensor], inputs: list[Tensor | None]) -> bool:
    return all(bool(t.isfinite().all()) for t in run(scan, inputs, True, torch.float32))
