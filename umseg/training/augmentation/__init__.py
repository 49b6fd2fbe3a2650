"""Augmentation: random transforms of training samples, in torch.

Source: docs/rules.md, Augmentation.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
