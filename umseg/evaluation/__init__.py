"""Scores of label maps against references: metrics per case and class, F1 of objects, summary and report."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
