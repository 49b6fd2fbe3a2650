"""Networks: the CNN-SSM U-Nets, their blocks and the Mamba block."""

import lazy_loader

from umseg.common.memory import use_huge_pages

use_huge_pages()  # before any module of the package allocates a tensor

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
