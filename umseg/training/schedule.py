"""The learning rate in the course of training."""

from __future__ import annotations

import math
from typing import Literal

ScheduleName = Literal["poly", "cosine", "constant"]

EXPONENT = 0.9


def learning_rate_factor(schedule: ScheduleName, epoch: int, epochs: int, step: int = 0, warmup: int = 0) -> float:
    """Factor on the initial learning rate.

    Args:
        schedule: ``poly``: (1 - epoch / epochs)^0.9 (facts 1.11); ``cosine``: (1 + cos(pi epoch / epochs)) / 2;
            ``constant``: 1.
        epoch: From 0; the factor stays the same for a whole epoch.
        epochs: Of the whole training.
        step: Iterations since the beginning of training.
        warmup: The factor is multiplied by (step + 1) / warmup in the first ``warmup`` iterations.
    """
    done = epoch / epochs
    factor = {"poly": (1 - done) ** EXPONENT, "cosine": (1 + math.cos(math.pi * done)) / 2, "constant": 1.0}[schedule]
    return float(factor) * (min(1.0, (step + 1) / warmup) if warmup else 1.0)
