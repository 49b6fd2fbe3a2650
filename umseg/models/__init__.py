"""Networks: the CNN-SSM U-Nets, their blocks, the Mamba block and its scan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from umseg.common.lazy import lazy_names
from umseg.models.memory import use_huge_pages

if TYPE_CHECKING:
    from umseg.kernels.scan import selective_scan
    from umseg.models.convert import convert_state_dict
    from umseg.models.mamba import MambaBlock
    from umseg.models.options import ModelOptions
    from umseg.models.registry import MODELS, build_network

_HOME = {
    "MODELS": "registry",
    "MambaBlock": "mamba",
    "ModelOptions": "options",
    "build_network": "registry",
    "convert_state_dict": "convert",
    "selective_scan": "mamba",
}

__all__ = ["MODELS", "MambaBlock", "ModelOptions", "build_network", "convert_state_dict", "selective_scan"]

use_huge_pages()  # before any module of the package allocates a tensor

__getattr__ = lazy_names(__name__, _HOME)
