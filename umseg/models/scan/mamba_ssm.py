"""The CUDA kernels of the mamba-ssm package."""

from __future__ import annotations

from importlib import import_module

from torch import Tensor


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
    """Shapes as in :func:`umseg.models.scan.interface.selective_scan`; float32 on a CUDA device.

    Raises:
        ImportError: mamba-ssm is not installed.
    """
    operation = import_module("mamba_ssm.ops.selective_scan_interface").selective_scan_fn
    result: Tensor = operation(u, delta, A, B, C, D, z, delta_bias, delta_softplus)
    return result
