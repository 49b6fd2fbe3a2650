"""The versions of umseg, Python and the packages that umseg computes with; nothing of them is imported for that."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from umseg import __version__

_PACKAGES = (
    "torch",
    "numpy",
    "scipy",
    "numba",
    "triton",
    "mamba-ssm",
    "causal-conv1d",
    "monai",
    "SimpleITK",
    "nibabel",
    "blosc2",
    "safetensors",
    "pydantic",
)


def package_lines() -> Iterator[str]:
    """The lines of a report."""
    yield f"umseg {__version__}, Python {platform.python_version()}, {platform.platform()}"
    yield from ("", "Packages")
    for name in _PACKAGES:
        yield f"  {name:16}{_version(name)}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
