# mypy: disable-error-code="no-untyped-def, misc, untyped-decorator, no-any-return"
"""What the Triton kernels of the scan and of the convolution have in common.

This module imports triton; import it inside the functions that need it.
"""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

# One warp per program: a lane is a channel and holds its states in registers, so that nothing but the gradients of B
# and C crosses lanes. Products are fused with sums as on any GPU; the default of triton 3.10 is not to.
OPTIONS: dict[str, Any] = {"num_warps": 1, "enable_fp_fusion": True}


def on_device_of(x: Tensor) -> AbstractContextManager[object]:
    """Triton launches on the current device, which need not be that of the tensors."""
    return torch.cuda.device(x.device) if x.is_cuda else contextlib.nullcontext()


@triton.jit
def sigmoid(x):
    """1 / (1 + e^-x); e^-x is infinity for large negative x, and the quotient 0, as it should be."""
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def silu_slope(x):
    """The derivative of x sigmoid(x)."""
    s = sigmoid(x)
    return s * (1.0 + x * (1.0 - s))


@triton.jit
def softplus(x):
    """log(1 + e^x) = max(x, 0) + log(1 + w) with w = e^-|x|, which neither overflows nor cancels.

    log(1 + w) = 2 artanh(s) = 2 s (1 + s^2 / 3 + s^4 / 5 + ...) with s = w / (2 + w), at most 1/3: seven terms leave a
    relative error of 2e-8, have no branch as a logarithm has, and lose no digits for small w.
    """
    w = tl.exp(-tl.abs(x))
    s = w / (2.0 + w)
    q = s * s
    series = 1.0 / 13.0
    series = series * q + 1.0 / 11.0
    series = series * q + 1.0 / 9.0
    series = series * q + 1.0 / 7.0
    series = series * q + 1.0 / 5.0
    series = series * q + 1.0 / 3.0
    return tl.maximum(x, 0.0) + 2.0 * s * (series * q + 1.0)


@triton.jit
def within(index, size, valid):
    """The mask of the indices below ``size``, of none where the scalar ``valid`` is false."""
    return index < tl.where(valid, size, 0)


@triton.jit
def step_size(raw, bias, mask, SOFTPLUS: tl.constexpr):
    """Step sizes from raw ones; 0 where masked, with which a token changes no state."""
    raw += bias
    if SOFTPLUS:
        raw = softplus(raw)
    return tl.where(mask, raw, 0.0)
