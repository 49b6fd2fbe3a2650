"""The options with which a model is loaded; what each of them does, ``Predictor`` says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class LoadOptions:
    """The options of ``Predictor`` besides the model and the device, under the same names."""

    folds: Sequence[str] | None = None
    weights: str = "final"
    mirror: bool = False
    step: float = 0.5
    precision: str = "auto"
    postprocessing: bool = True
    most_bytes: int | None = None
    skip_empty: bool = False
    confidence: bool = False
    runtime: str = "auto"
