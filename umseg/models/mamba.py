"""The Mamba block, with the parameter names of ``mamba_ssm.Mamba``."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from umseg.kernels.conv1d.interface import causal_conv1d_silu
from umseg.kernels.scan import selective_scan

__all__ = ["MambaBlock", "selective_scan"]

# Number of inner channels up to which the weights of the two projections to the step sizes are multiplied first: two
# products with only a few columns (the rank is 2 here) take longer than one product with the full matrix.
_WIDEST_FUSED = 64


class MambaBlock(nn.Module):
    """Mamba: gated selective state space model over a sequence (Gu and Dao 2023; docs/rules.md, Mamba block).

    The parameters have the names, shapes and initialisation of ``mamba_ssm.Mamba``, so that its state dict loads
    without changes. The block computes in the dtype of its parameters (float32, or float64 after ``.double()``), even
    under autocast, because the recurrence multiplies rounding errors over the whole sequence.

    Args:
        d_model: Number of features per token of input and output.
        d_state: Number of states per inner channel.
        d_conv: Width of the causal convolution.
        expand: Number of inner channels per feature.
        dt_rank: Rank of the projection that gives the step sizes; "auto" is ceil(d_model / 16).
    """

    def __init__(
        self, d_model: int, d_state: int = 16, d_conv: int = 4, expand: int = 2, dt_rank: int | str = "auto"
    ) -> None:
        super().__init__()
        inner = expand * d_model
        rank = math.ceil(d_model / 16) if isinstance(dt_rank, str) else dt_rank
        self.d_model = d_model
        self.d_state = d_state
        self.dt_rank = rank
        self.in_proj = nn.Linear(d_model, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, d_conv, groups=inner, padding=d_conv - 1)
        self.x_proj = nn.Linear(inner, rank + 2 * d_state, bias=False)
        self.dt_proj = nn.Linear(rank, inner)
        self.A_log = nn.Parameter(torch.log(torch.arange(1, d_state + 1, dtype=torch.float32)).repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, d_model, bias=False)
        self._initialise_steps()

    def _initialise_steps(self, shortest: float = 1e-3, longest: float = 1e-1, floor: float = 1e-4) -> None:
        """Make the step sizes softplus(dt_proj.bias) log-uniform in a range of steps (docs/rules.md, Mamba block)."""
        nn.init.uniform_(self.dt_proj.weight, -(self.dt_rank**-0.5), self.dt_rank**-0.5)
        with torch.no_grad():
            steps = torch.empty_like(self.dt_proj.bias).uniform_(math.log(shortest), math.log(longest)).exp_()
            steps.clamp_(min=floor)
            # The inverse of softplus, log(e^s - 1), in the form that loses no digits for small s.
            self.dt_proj.bias.copy_(steps + torch.log(-torch.expm1(-steps)))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (batch, tokens, d_model) to the same shape, both with any strides; computed without autocast."""
        with torch.autocast(tokens.device.type, enabled=False):
            return self._mix(tokens.to(self.A_log.dtype))

    def _mix(self, tokens: Tensor) -> Tensor:
        inner, rank = self.D.shape[0], self.dt_rank
        # Two products are cheaper than one that is split: a split copies both halves in the backward pass.
        x = F.linear(tokens, self.in_proj.weight[:inner]).transpose(1, 2)
        z = F.linear(tokens, self.in_proj.weight[inner:]).transpose(1, 2)
        x = causal_conv1d_silu(x, self.conv1d.weight, self.conv1d.bias)
        features = x.transpose(1, 2)
        if inner <= _WIDEST_FUSED:
            delta = F.linear(features, self.dt_proj.weight @ self.x_proj.weight[:rank])
        else:
            delta = F.linear(F.linear(features, self.x_proj.weight[:rank]), self.dt_proj.weight)
        B, C = F.linear(features, self.x_proj.weight[rank:]).transpose(1, 2).chunk(2, dim=1)
        y = selective_scan(
            x,
            delta.transpose(1, 2),
            -torch.exp(self.A_log),
            B,
            C,
            D=self.D,
            z=z,
            delta_bias=self.dt_proj.bias,
            delta_softplus=True,
        )
        out: Tensor = self.out_proj(y.transpose(1, 2))
        return out
