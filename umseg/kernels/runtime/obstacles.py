"""Reasons why kernels cannot run on this machine, and remedies, found without an import of the packages they need."""

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

# Releases of mamba-ssm up to 2.3.2 have the kernels in their wheels or compile them, and ignore this variable. Later
# releases leave the kernels out unless the variable is set during installation (state-spaces/mamba, pull request 977).
_REBUILD = (
    "MAMBA_KEEP_CUDA_BUILD=TRUE pip install --force-reinstall --no-cache-dir --no-deps --no-build-isolation "
    "mamba-ssm, which needs the CUDA compiler; or nothing, where triton is installed"
)


class Obstacle(NamedTuple):
    """The reason why kernels cannot run, and the command or action that helps."""

    reason: str
    remedy: str


def find_obstacle(package: str | None) -> Obstacle | None:
    """The obstacle that keeps kernels that need ``package`` from running; None if they can run.

    Args:
        package: Name of the package: ``numba``, ``triton`` or ``mamba_ssm``; None for kernels that need torch alone.
    """
    if package is None:
        return None
    if package == "mamba_ssm" and sys.platform != "linux":
        return Obstacle("mamba_ssm exists for Linux only", "none needed where triton is installed")
    if find_spec(package) is None:
        return Obstacle(f"{package} is not installed", _INSTALL[package])
    if package == "mamba_ssm" and find_spec("selective_scan_cuda") is None:
        return Obstacle("mamba_ssm is installed without its CUDA kernels", _REBUILD)
    if package == "triton" and _triton_version() < (3, 3):
        return Obstacle("triton is older than 3.3", "install torch 2.7 or newer, which brings it")
    if package == "triton" and sys.platform == "linux" and not _has_compiler():
        # Triton uses the compiler for the few lines that launch a kernel.
        return Obstacle("triton finds no C compiler", "install gcc, e.g. apt-get install gcc")
    return None


def _has_compiler() -> bool:
    return "CC" in os.environ or any(shutil.which(name) for name in ("gcc", "clang"))


def _triton_version() -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in version("triton").split(".")[:2])
    except PackageNotFoundError:  # builds for other GPUs and nightly builds have other names
        return (3, 3)


OBSTACLES: dict[str, Obstacle | None] = {package: find_obstacle(package) for package in _INSTALL}
"""The obstacles of the kernels that need each package, looked up once: a compiled graph cannot search for packages."""
