"""``selective_scan``: one function, several backends."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from umseg.kernels.runtime import obstacles
from umseg.kernels.scan import cpu, mamba_ssm, reference, triton

_log = logging.getLogger(__name__)

Scan = Callable[
    [Tensor, Tensor, Tensor, Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None, bool],
    Tensor,
]


class Backend(NamedTuple):
    """An implementation of the scan, with the tensors that it takes and the package that it needs.

    Attributes:
        scan: Function that runs the scan; its module imports the packages that it needs when the function is called.
        device: Type of device ("cpu", "cuda"), or None for every device.
        dtypes: Dtypes that the backend computes in.
        package: Installed package that the backend needs, or None.
    """

    scan: Scan
    device: str | None
    dtypes: tuple[torch.dtype, ...]
    package: str | None


# The backends in the order of preference: ``auto`` takes the first that fits the tensors and is installed. mamba_ssm is
# faster than triton only for sequences so short that neither takes long (docs/gpu.md).
BACKENDS = {
    "cpu": Backend(cpu.scan, "cpu", (torch.float32,), "numba"),
    "triton": Backend(triton.scan, "cuda", (torch.float32,), "triton"),
    "mamba_ssm": Backend(mamba_ssm.scan, "cuda", (torch.float32,), "mamba_ssm"),
    "reference": Backend(reference.scan, None, (torch.float32, torch.float64), None),
}
# The obstacle that keeps each backend from running, or None.
OBSTACLES = {name: obstacles.OBSTACLES[b.package] if b.package else None for name, b in BACKENDS.items()}


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    backend: str = "auto",
) -> Tensor:
    """Run the selective state space recurrence of Mamba over a sequence (docs/rules.md, Mamba block).

    h_t = exp(delta_t A) h_(t-1) + delta_t B_t u_t with h_0 = 0; y_t = <C_t, h_t> + D u_t; with ``z`` the result is
    y_t silu(z_t). The scan computes in float32, or in float64 where ``u`` is float64, whatever the dtypes of the other
    tensors. Tensors may have any strides.

    Args:
        u: Input (batch, channels, length).
        delta: Step sizes (batch, channels, length).
        A: Real state matrix (channels, states).
        B: Input projection (batch, states, length).
        C: Output projection (batch, states, length).
        D: Skip weights (channels,).
        z: Gate (batch, channels, length).
        delta_bias: Bias (channels,) that is added to ``delta`` before the softplus.
        delta_softplus: Whether to replace ``delta`` by softplus(delta + delta_bias).
        backend: Name of the backend: "auto" or a key of ``BACKENDS``.

    Returns:
        The output (batch, channels, length) in the dtype of ``u``; values beyond the range of float16 become its
        largest number.

    Raises:
        ValueError: A shape does not fit, a tensor is empty, or the backend is unknown or does not fit the tensors.
        ImportError: The chosen backend is not installed.
    """
    _check_shapes(u, delta, A, B, C, D, z, delta_bias)
    dtype = torch.float64 if u.dtype == torch.float64 else torch.float32
    name = choose_backend(u.device, dtype) if backend == "auto" else _named_backend(backend, u.device, dtype)
    # Autocast would round the products of the recurrence to 16 bits, which it does not tolerate.
    with torch.autocast(u.device.type, enabled=False):
        y = BACKENDS[name].scan(
            u.to(dtype),
            delta.to(dtype),
            A.to(dtype),
            B.to(dtype),
            C.to(dtype),
            None if D is None else D.to(dtype),
            None if z is None else z.to(dtype),
            None if delta_bias is None else delta_bias.to(dtype),
            delta_softplus,
        )
    return _rounded(y, u.dtype)


def available_backends() -> dict[str, bool]:
    """The names of all backends, fastest first, and whether the package that each needs is installed."""
    return {name: OBSTACLES[name] is None for name in BACKENDS}


def choose_backend(device: torch.device, dtype: torch.dtype = torch.float32) -> str:
    """The backend that "auto" means for tensors on ``device`` and a computation in ``dtype``."""
    fitting = fitting_backends(device, dtype)
    chosen = next(name for name in fitting if OBSTACLES[name] is None)
    if chosen == "reference" != fitting[0]:
        _warn_once(device.type, fitting[0])
    return chosen


def fitting_backends(device: torch.device, dtype: torch.dtype = torch.float32) -> list[str]:
    """The backends that work on ``device`` in ``dtype``, installed or not, fastest first; the last is "reference"."""
    return [name for name, b in BACKENDS.items() if b.device in (None, device.type) and dtype in b.dtypes]


def _named_backend(name: str, device: torch.device, dtype: torch.dtype) -> str:
    if name not in BACKENDS:
        raise ValueError(f"unknown backend {name!r}; expected 'auto', {', '.join(map(repr, BACKENDS))}")
    backend = BACKENDS[name]
    if backend.device not in (None, device.type):
        raise ValueError(f"backend {name!r} works on {backend.device} tensors; u is on {device}")
    if dtype not in backend.dtypes:
        raise ValueError(f"backend {name!r} computes in {', '.join(map(str, backend.dtypes))}; u is {dtype}")
    obstacle = OBSTACLES[name]
    if obstacle is not None:
        raise ImportError(f"backend {name!r} cannot run: {obstacle.reason}; remedy: {obstacle.remedy}")
    return name


def _rounded(y: Tensor, dtype: torch.dtype) -> Tensor:
    if dtype == torch.float16:
        # An infinite value would become NaN in the next product or norm.
        largest = torch.finfo(dtype).max
        y = y.clamp(-largest, largest)
    return y.to(dtype)


@cache
def _warn_once(device: str, missed: str) -> None:
    obstacle = OBSTACLES[missed]
    assert obstacle is not None
    message = "The selective scan runs on %s as a slow loop in torch: %s. Remedy: %s"
    _log.warning(message, device, obstacle.reason, obstacle.remedy)


def _check_shapes(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
) -> None:
    if u.ndim != 3:
        raise ValueError(f"u must be (batch, channels, length), got {tuple(u.shape)}")
    if A.ndim != 2:
        raise ValueError(f"A must be (channels, states), got {tuple(A.shape)}")
    if A.is_complex():
        raise ValueError("A must be real")
    batch, channels, length = u.shape
    states = A.shape[1]
    if 0 in (batch, channels, length, states):
        raise ValueError(f"nothing to scan: u is {tuple(u.shape)} and A is {tuple(A.shape)}; every size must be > 0")
    expected = {
        "delta": (delta, (batch, channels, length)),
        "A": (A, (channels, states)),
        "B": (B, (batch, states, length)),
        "C": (C, (batch, states, length)),
        "D": (D, (channels,)),
        "z": (z, (batch, channels, length)),
        "delta_bias": (delta_bias, (channels,)),
    }
    for name, (tensor, shape) in expected.items():
        if tensor is None:
            continue
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{name} must be {shape} for u {tuple(u.shape)}, got {tuple(tensor.shape)}")
        if tensor.device != u.device:
            raise ValueError(f"{name} is on {tensor.device}, u on {u.device}")
