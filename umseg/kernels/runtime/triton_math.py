# mypy: disable-error-code="no-untyped-def, misc, untyped-decorator, no-any-return"
"""Functions that the Triton kernels of the scan and of the convolution share.

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

# A program is one warp: a lane is a channel and holds its states in registers, so that only the gradients of B and C
# cross lanes. Products are fused with sums as is usual on a GPU; by default triton 3.10 does not fuse them.
OPTIONS: dict[str, Any] = {"num_warps": 1, "enable_fp_fusion": True}


def on_device_of(x: Tensor) -> AbstractContextManager[object]:
    """A block in which Triton launches kernels on the device of ``x``, which need not be the current one."""
    return torch.cuda.device(x.device) if x.is_cuda else contextlib.nullcontext()


@triton.jit
def sigmoid(x):
    """1 / (1 + e^-x); for large negative x e^-x is infinity and the quotient is correctly 0."""
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
    """The mask of the indices below ``size``; it is empty where the scalar ``valid`` is false."""
    return index < tl.where(valid, size, 0)


@triton.jit
def step_size(raw, bias, mask, SOFTPLUS: tl.constexpr):
    """The step sizes from raw ones; 0 outside the mask, so that the token changes no state."""
    raw += bias
    if SOFTPLUS:
        raw = softplus(raw)
    return tl.where(mask, raw, 0.0)
