"""The selective scan on CPU: torch operators around the numba kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from umseg.kernels.runtime.direct import is_direct
from umseg.kernels.runtime.layout import CHUNK, LANES, ceil_div
from umseg.kernels.runtime.threads import run_tasks
from umseg.kernels.scan.operator import Gradients, differentiable, empty_gate, empty_gradients, sum_groups

# Number of channel blocks per call of the forward kernel; more blocks share the reading of B and C.
_BLOCKS_FORWARD = 4
# Number of channel blocks per call of the backward kernel; every call has a separate buffer of sums for B and C.
_BLOCKS_BACKWARD = 2


def _forward(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    keep: bool,
) -> tuple[Tensor, Tensor]:
    """Return the output and, where ``keep``, the states at the start of each chunk for the backward pass."""
    from umseg.kernels.scan.cpu_forward import forward, forward_scratch

    y, kept = _forward_outputs(u, A, keep)
    channels, states = A.shape
    blocks = ceil_div(channels, LANES)
    size = min(_BLOCKS_FORWARD, blocks)
    pieces = _forward_pieces(u.shape[0], blocks, torch.get_num_threads())
    inputs = _arrays(u, delta, A, B, C, D, z, delta_bias)
    outputs = (y.numpy(), kept.numpy())

    def make_worker() -> Callable[[int], None]:
        scratch = torch.empty(forward_scratch(_padded(states), size)).numpy()

        def worker(i: int) -> None:
            batch, first, last = pieces[i]
            forward(*inputs, delta_softplus, z is not None, keep, batch, first, last, *outputs, scratch)

        return worker

    run_tasks(make_worker, len(pieces))
    return y, kept


forward_op = torch.library.custom_op("umseg::selective_scan_cpu", _forward, mutates_args=(), device_types="cpu")
"""The same as an operator of torch."""


@forward_op.register_fake
def _(*inputs: Any) -> tuple[Tensor, Tensor]:
    u, _, A, *_, keep = inputs
    return _forward_outputs(u, A, keep)


@torch.library.custom_op("umseg::selective_scan_cpu_backward", mutates_args=(), device_types="cpu")
def backward_op(
    grad: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    kept: Tensor,
) -> Gradients:
    """Return the gradients of all inputs; see ``Gradients``."""
    from umseg.kernels.scan.cpu_backward import backward, backward_scratch

    batches, channels, length = u.shape
    states = A.shape[1]
    blocks, padded = ceil_div(channels, LANES), _padded(states)
    pieces = list(_pieces(batches, blocks, _BLOCKS_BACKWARD))
    grad_u, grad_delta, grad_z = torch.empty_like(u), torch.empty_like(u), empty_gate(u, z, torch.empty_like)
    grad_a = torch.empty(batches, blocks, padded, LANES)
    grad_b = torch.empty(batches, len(pieces) // batches, length, padded)
    grad_c = torch.empty_like(grad_b)
    grad_channel = torch.empty(batches, blocks, 2, LANES)
    inputs = _arrays(u, delta, A, B, C, D, z, delta_bias)
    outputs = [t.numpy() for t in (grad_u, grad_delta, grad_z, grad_a, grad_b, grad_c, grad_channel)]

    def make_worker() -> Callable[[int], None]:
        scratch = torch.empty(backward_scratch(padded, _BLOCKS_BACKWARD)).numpy()

        def worker(i: int) -> None:
            backward(*inputs, delta_softplus, z is not None, *pieces[i], kept.numpy(), grad.numpy(), *outputs, scratch)

        return worker

    run_tasks(make_worker, len(pieces))
    total_a = grad_a.sum(0).transpose(1, 2).reshape(-1, padded)[:channels, :states].contiguous()
    skip, bias = grad_channel.sum(0).transpose(0, 1).reshape(2, -1)[:, :channels].clone().unbind(0)
    return (
        grad_u,
        grad_delta,
        total_a,
        sum_groups(grad_b, states),
        sum_groups(grad_c, states),
        skip.clone(),
        grad_z,
        bias.clone(),
    )


@backward_op.register_fake
def _(*inputs: Any) -> Gradients:
    _, u, _, A, _, _, _, z, *_ = inputs
    return empty_gradients(u, A, z, torch.empty_like)


_scan = differentiable(forward_op, backward_op)


def scan(*inputs: Any) -> Tensor:
    """The scan of float32 tensors on a CPU; shapes as in :func:`umseg.kernels.scan.interface.selective_scan`."""
    forward: Callable[..., tuple[Tensor, Tensor]] = _forward
    return forward(*inputs, False)[0] if is_direct(inputs[0]) else _scan(*inputs)


def _padded(states: int) -> int:
    return 4 * ceil_div(states, 4)


def _forward_outputs(u: Tensor, A: Tensor, keep: bool) -> tuple[Tensor, Tensor]:
    batches, channels, length = u.shape
    chunks = ceil_div(length, CHUNK) if keep else 0
    kept = u.new_empty(batches, ceil_div(channels, LANES), chunks, _padded(A.shape[1]), LANES)
    return torch.empty_like(u), kept


def _arrays(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
) -> tuple[np.ndarray[Any, Any], ...]:
    """The tensors as arrays for the kernels; an absent D or bias is zero, an absent z is never read."""
    D = u.new_zeros(u.shape[1]) if D is None else D
    bias = u.new_zeros(u.shape[1]) if delta_bias is None else delta_bias
    gate = u if z is None else z
    return tuple(t.detach().numpy() for t in (u, delta, A, B, C, D[:, None], gate, bias[:, None]))


def _forward_pieces(batches: int, blocks: int, threads: int) -> list[tuple[int, int, int]]:
    """The triple (batch, first block, last block) of every piece of work.

    Results do not depend on how the channels are divided. Batch elements that can be shared out equally among the
    threads stay in large pieces; the remaining ones are divided so that all threads finish at the same time.
    """
    whole = batches // threads * threads
    small = max(1, min(_BLOCKS_FORWARD, (batches - whole) * blocks // (4 * threads)))
    sizes = [_BLOCKS_FORWARD] * whole + [small] * (batches - whole)
    return [(b, i, min(i + size, blocks)) for b, size in enumerate(sizes) for i in range(0, blocks, size)]


def _pieces(batches: int, blocks: int, size: int) -> Iterator[tuple[int, int, int, int]]:
    """The tuple (batch, group, first block, last block) of every piece of work."""
    for batch in range(batches):
        for group, first in enumerate(range(0, blocks, size)):
            yield batch, group, first, min(first + size, blocks)
