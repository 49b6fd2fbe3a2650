"""The learning rate in the course of training."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from umseg.training.config.training_config import TrainingConfig

ScheduleName = Literal["poly", "cosine", "constant"]


def learning_rate_factor(config: TrainingConfig, epoch: int, step: int) -> float:
    """Factor on the initial learning rate; but for the warm-up it stays the same for a whole epoch.

    Source: docs/rules.md, Optimisation.

    ``poly`` is (1 - epoch / epochs)^power; ``cosine`` falls from 1 to the share of ``lr_end`` as half a period of the
    cosine; ``constant`` is 1. In the first ``warmup`` iterations it is multiplied by (step + 1) / warmup.

    Args:
        config: Schedule, epochs, warm-up.
        epoch: From 0.
        step: Iterations since the beginning of training.
    """
    done = epoch / config.epochs
    if config.schedule == "poly":
        factor = math.pow(1 - done, config.power)
    elif config.schedule == "cosine":
        end = config.lr_end / config.initial_lr
        factor = end + (1 - end) * (1 + math.cos(math.pi * done)) / 2
    else:
        factor = 1.0
    return factor * (min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0)
