"""Networks: the CNN-SSM U-Nets, their blocks, the Mamba block and its scan."""

from umseg.models.memory import use_huge_pages

use_huge_pages()  # before anything below allocates a tensor

from umseg.models.convert import convert_state_dict  # noqa: E402
from umseg.models.mamba import MambaBlock  # noqa: E402
from umseg.models.registry import MODELS, ModelOptions, build_network  # noqa: E402
from umseg.models.scan import selective_scan  # noqa: E402

__all__ = ["MODELS", "MambaBlock", "ModelOptions", "build_network", "convert_state_dict", "selective_scan"]
