"""The part of the differentiation that the normalisations on CPU and GPU share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor


def gradients_by(backward: Callable[..., Any]) -> Callable[..., tuple[Tensor | None, ...]]:
    """The backward function of a normalisation for ``register_autograd``.

    Args:
        backward: Operator that maps the output's gradient, the saved tensors, the presence of a residual and the slope
            to the gradients of input, residual, weight and bias.
    """

    def gradients(ctx: Any, grad: Tensor, _mean: Tensor, _scale: Tensor) -> tuple[Tensor | None, ...]:
        dx, dresidual, dweight, dbias = backward(grad, *ctx.saved_tensors, ctx.with_residual, ctx.slope)
        return dx, dresidual if ctx.with_residual else None, dweight, dbias, None, None

    return gradients
