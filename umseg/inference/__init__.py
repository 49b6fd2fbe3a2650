"""Inference: sliding window, predictor, and export in the geometry of the input."""

from __future__ import annotations

from typing import TYPE_CHECKING

from umseg.common.lazy import lazy_names

if TYPE_CHECKING:
    from umseg.inference.predictor import Predictor

__all__ = ["Predictor"]

__getattr__ = lazy_names(__name__, {"Predictor": "predictor"})
