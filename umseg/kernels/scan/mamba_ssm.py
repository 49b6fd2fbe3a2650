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
    """Scan float32 tensors on a CUDA device; shapes as in :func:`umseg.kernels.scan.interface.selective_scan`.

    The kernels read sequences with time innermost. mamba-ssm copies some tensors in other layouts and refuses the
    others, so that this function passes all tensors in that layout.

    Raises:
        ImportError: mamba-ssm is not installed.
    """
    operation = import_module("mamba_ssm.ops.selective_scan_interface").selective_scan_fn
    tensors = (None if t is None else t.contiguous() for t in (u, delta, A, B, C, D, z, delta_bias))
    result: Tensor = operation(*tensors, delta_softplus=delta_softplus)
    return result
