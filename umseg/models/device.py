"""The device and the number format in which a network runs."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager

import torch
from torch import nn

from umseg.common.errors import UserError
from umseg.common.hardware_names import check_device_name, check_precision_name
from umseg.kernels.runtime.memory_format import channels_last
from umseg.kernels.runtime.torch_private import cpu_has_bfloat16

THIN = 3
"""Number of voxels along an axis below which oneDNN may return uninitialised memory as bfloat16 gradients of weights.

This was observed for an axis of 2 under a 3x3x3 kernel, and of 1 under a stride (torch 2.13, AVX-512). Gradients for
three voxels and more were right.
"""

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_device(name: str) -> torch.device:
    """The device that ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps`` means on this machine.

    Raises:
        UserError: The device is unknown or not available.
    """
    check_device_name(name)
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("cpu")
    device = torch.device(name)
    missing = (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()) or (
        device.type == "mps" and not torch.backends.mps.is_available()
    )
    if missing:
        raise UserError(
            f"Device '{name}' is not available on this machine.",
            found=f"{torch.cuda.device_count()} CUDA devices",
            expected="a device that torch can use",
            remedy="Use --device auto or --device cpu; for CUDA check the driver and that torch is a CUDA build.",
        )
    return device


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """The number format of the convolutions; everything that adds up stays in float32.

    ``auto`` means bfloat16 where the hardware computes with it, float16 on older NVIDIA GPUs, and otherwise float32.

    Raises:
        UserError: The name is unknown, or the device does not support the format.
    """
    if name == "auto":
        if device.type == "cuda":
            return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
        return torch.bfloat16 if device.type == "cpu" and cpu_has_bfloat16() else torch.float32
    check_precision_name(name)
    if name == "fp16" and device.type != "cuda":
        raise UserError("fp16 needs a CUDA device.", found=str(device), remedy="Use --precision auto.")
    return PRECISIONS[name]


def precision_name(precision: torch.dtype) -> str:
    """The name of a number format, as ``resolve_precision`` takes it."""
    return next(name for name, dtype in PRECISIONS.items() if dtype == precision)


def autocast(device: torch.device, precision: torch.dtype) -> AbstractContextManager[object]:
    """A context with mixed precision for the convolutions, or without effect for float32."""
    if precision == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=precision)


def place(network: nn.Module, device: torch.device) -> nn.Module:
    """Move a network to a device, with its weights in the memory layout that convolutions prefer there."""
    network = network.to(device)
    for parameter in network.parameters():
        if parameter.dim() in (4, 5):
            parameter.data = channels_last(parameter.data)
    return network
