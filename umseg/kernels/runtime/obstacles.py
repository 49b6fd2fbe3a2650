"""Why a backend of the scan cannot run on this machine, and what to do about it; found without importing anything."""

from __future__ import annotations

import os
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import NamedTuple

_INSTALL = {
    "numba": "pip install numba",
    "mamba_ssm": 'pip install "umseg[cuda]"',
    "triton": "pip install triton-windows" if sys.platform == "win32" else "pip install triton",
}


class Obstacle(NamedTuple):
    """What is missing, and the command or deed that helps."""

    reason: str
    remedy: str


def find_obstacle(package: str | None) -> Obstacle | None:
    """What keeps a backend that needs ``package`` from running, or None."""
    if package is None:
        return None
    if package == "mamba_ssm" and sys.platform != "linux":
        return Obstacle("mamba_ssm exists for Linux only", "none needed where triton is installed")
    if find_spec(package) is None:
        return Obstacle(f"{package} is not installed", _INSTALL[package])
    if package == "mamba_ssm" and find_spec("selective_scan_cuda") is None:
        return Obstacle("mamba_ssm is installed without its CUDA kernels", _INSTALL[package])
    if package == "triton" and _triton_version() < (3, 3):
        return Obstacle("triton is older than 3.3", "install torch 2.7 or newer, which brings it")
    if package == "triton" and sys.platform == "linux" and not _has_compiler():
        # Triton compiles the few lines that launch a kernel with it.
        return Obstacle("triton finds no C compiler", "install gcc, e.g. apt-get install gcc")
    return None


def _has_compiler() -> bool:
    return "CC" in os.environ or any(shutil.which(name) for name in ("gcc", "clang"))


def _triton_version() -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in version("triton").split(".")[:2])
    except PackageNotFoundError:  # builds for other GPUs and nightly builds go by other names
        return (3, 3)
