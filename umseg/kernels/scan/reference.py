"""The selective scan as a plain loop, the reference that the other backends are tested against."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
) -> Tensor:
    """h_t = exp(delta_t A) h_(t-1) + delta_t B_t u_t; y_t = <C_t, h_t> + D u_t; y_t silu(z_t).

    Source: docs/rules.md, Mamba block.

    Shapes are those of :func:`umseg.kernels.scan.interface.selective_scan`. Every tensor has the same dtype, float32 or
    float64, in which everything is computed. Autograd can differentiate the scan any number of times, on any device;
    memory and time grow with batch x channels x length x states.
    """
    if delta_bias is not None:
        delta = delta + delta_bias[:, None]
    if delta_softplus:
        delta = F.softplus(delta)
    driven = delta * u
    state = u.new_zeros(u.shape[0], u.shape[1], A.shape[1])
    outputs = []
    for t in range(u.shape[2]):
        decay = torch.exp(delta[:, :, t, None] * A)
        state = decay * state + driven[:, :, t, None] * B[:, None, :, t]
        outputs.append((state * C[:, None, :, t]).sum(-1))
    y = torch.stack(outputs, dim=-1)
    if D is not None:
        y = y + D[:, None] * u
    return y if z is None else y * F.silu(z)
