"""The parts that the backends with torch operators share: autograd around two operators, and shapes of gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Gradients = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
"""The gradients of u, delta, A, B, C, D, z (empty without z) and the bias."""


def differentiable(forward_op: Any, backward_op: Any) -> Callable[..., Tensor]:
    """Register ``backward_op`` as the gradient of ``forward_op``.

    Args:
        forward_op: Custom operator from (u, delta, A, B, C, D, z, delta_bias, delta_softplus, keep) to the output and,
            where ``keep``, the states that the backward pass starts from.
        backward_op: Custom operator from (gradient, u, ..., delta_softplus, kept states) to ``Gradients``.

    Returns:
        The scan, a function of (u, ..., delta_softplus) that keeps states only where a gradient is needed.
    """

    def save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        *tensors, ctx.delta_softplus, _ = inputs
        ctx.save_for_backward(*tensors, output[1])
        ctx.mark_non_differentiable(output[1])
        # Without this, autograd would allocate a gradient of zeros for the kept states.
        ctx.set_materialize_grads(False)

    def backward(ctx: Any, grad: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
        *tensors, kept = ctx.saved_tensors
        if grad is None:
            return (None,) * 10
        if kept.numel() == 0:
            kept = forward_op(*tensors, ctx.delta_softplus, True)[1]
        gradients = backward_op(grad, *tensors, ctx.delta_softplus, kept)
        wanted = [None if tensor is None else gradient for tensor, gradient in zip(tensors, gradients, strict=True)]
        return (*wanted, None, None)

    forward_op.register_autograd(backward, setup_context=save)

    def scan(*inputs: Any) -> Tensor:
        keep = torch.is_grad_enabled() and any(isinstance(t, Tensor) and t.requires_grad for t in inputs)
        y: Tensor = forward_op(*inputs, keep)[0]
        return y

    return scan


def empty_gradients(u: Tensor, A: Tensor, z: Tensor | None, like: Callable[[Tensor], Tensor]) -> Gradients:
    """Uninitialised gradients for tracing; ``like`` makes a tensor in the layout of the backend's gradient of u."""
    batches, channels, length = u.shape
    sequence = u.new_empty(batches, length, A.shape[1])
    return (
        like(u),
        like(u),
        u.new_empty(A.shape),
        sequence.transpose(1, 2),
        torch.empty_like(sequence).transpose(1, 2),
        u.new_empty(channels),
        empty_gate(u, z, like),
        u.new_empty(channels),
    )


def empty_gate(u: Tensor, z: Tensor | None, like: Callable[[Tensor], Tensor]) -> Tensor:
    """An uninitialised tensor for the gradient of z, empty without z."""
    return u.new_empty(0, 0, 0) if z is None else like(u)


def sum_groups(parts: Tensor, states: int) -> Tensor:
    """Sum (batch, groups, length, padded states) to (batch, states, length), in the order of the groups."""
    total = parts.sum(1) if parts.shape[1] > 1 else parts[:, 0]
    return total[..., :states].contiguous().transpose(1, 2)
