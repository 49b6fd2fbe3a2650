"""The causal depthwise convolution of a Mamba block, with its activation."""

from __future__ import annotations

from umseg.kernels.conv1d.interface import causal_conv1d_silu

__all__ = ["causal_conv1d_silu"]
