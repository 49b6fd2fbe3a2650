"""Networks: the CNN-SSM U-Nets, their blocks, the Mamba block and its scan."""

from umseg.models.mamba import MambaBlock
from umseg.models.registry import MODELS, ModelOptions, build_network
from umseg.models.scan import selective_scan

__all__ = ["MODELS", "MambaBlock", "ModelOptions", "build_network", "selective_scan"]
