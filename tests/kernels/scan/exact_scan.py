"""The selective scan and its gradients in float64, written out: a truth that is fast enough for long sequences."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]


def exact_scan(inputs: list[Tensor | None], softplus: bool, upstream: Tensor) -> list[Tensor]:
    """The output, and the gradients of those tensors of (u, delta, A, B, C, D, z, delta_bias) that are there.

    Args:
        inputs: float64, as ``selective_scan`` takes them.
        softplus: Whether steps are softplus(delta + delta_bias).
        upstream: Gradient of the output.
    """
    u, _, _, _, _, D, z, bias = inputs
    assert u is not None
    absent = [None] * 5 + [
        u.new_zeros(u.shape[1]) if D is None else None,
        torch.zeros_like(u) if z is None else None,
        u.new_zeros(u.shape[1]) if bias is None else None,
    ]
    given = [a if t is None else t for t, a in zip(inputs, absent, strict=True)]
    arrays = [np.ascontiguousarray(t.detach()) for t in given if t is not None]
    gradients = [np.zeros_like(array) for array in arrays]
    y = np.empty_like(arrays[0])
    _scan(*arrays, softplus, z is not None, np.ascontiguousarray(upstream), y, *gradients)  # type: ignore[call-arg, arg-type]
    present = [g for t, g in zip(inputs, gradients, strict=True) if t is not None]
    return [torch.from_numpy(array) for array in (y, *present)]


@numba.njit(cache=True)
def _scan(
    u: Array, delta: Array, A: Array, B: Array, C: Array, D: Array, z: Array, bias: Array, softplus: bool, gated: bool,
    upstream: Array, y: Array,
    du: Array, ddelta: Array, dA: Array, dB: Array, dC: Array, dD: Array, dz: Array, dbias: Array,
) -> Any:  # fmt: skip
    batches, channels, length = u.shape
    states = A.shape[1]
    h = np.zeros((length + 1, states))
    for b in range(batches):
        for c in range(channels):
            for t in range(length):
                raw = delta[b, c, t] + bias[c]
                step = max(raw, 0.0) + math.log1p(math.exp(-abs(raw))) if softplus else raw
                ungated = D[c] * u[b, c, t]
                for n in range(states):
                    h[t + 1, n] = math.exp(step * A[c, n]) * h[t, n] + step * B[b, n, t] * u[b, c, t]
                    ungated += C[b, n, t] * h[t + 1, n]
                y[b, c, t] = ungated
            adjoint = np.zeros(states)
            for t in range(length - 1, -1, -1):
                raw = delta[b, c, t] + bias[c]
                step = max(raw, 0.0) + math.log1p(math.exp(-abs(raw))) if softplus else raw
                into = upstream[b, c, t]
                if gated:
                    sigmoid = 1 / (1 + math.exp(-z[b, c, t]))
                    dz[b, c, t] = into * y[b, c, t] * sigmoid * (1 + z[b, c, t] * (1 - sigmoid))
                    y[b, c, t] *= z[b, c, t] * sigmoid
                    into *= z[b, c, t] * sigmoid
                du[b, c, t] = into * D[c]
                dD[c] += into * u[b, c, t]
                dstep = 0.0
                for n in range(states):
                    decay = math.exp(step * A[c, n])
                    dC[b, n, t] += into * h[t + 1, n]
                    adjoint[n] += into * C[b, n, t]
                    du[b, c, t] += adjoint[n] * step * B[b, n, t]
                    dB[b, n, t] += adjoint[n] * step * u[b, c, t]
                    dA[c, n] += adjoint[n] * decay * step * h[t, n]
                    dstep += adjoint[n] * (decay * A[c, n] * h[t, n] + B[b, n, t] * u[b, c, t])
                    adjoint[n] *= decay
                ddelta[b, c, t] = dstep / (1 + math.exp(-raw)) if softplus else dstep
                dbias[c] += ddelta[b, c, t]
