"""The selective scan of Mamba, one file per backend."""

from __future__ import annotations

from umseg.kernels.scan.interface import available_backends, choose_backend, selective_scan

__all__ = ["available_backends", "choose_backend", "selective_scan"]
