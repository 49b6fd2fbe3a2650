"""Training: splits, patches, augmentation, loss, schedule, the loop and its checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from umseg.common.lazy import lazy_names

if TYPE_CHECKING:
    from umseg.training.config.training_config import TrainingConfig
    from umseg.training.loop.run import train

_HOME = {"TrainingConfig": "config.training_config", "train": "loop.run"}

__all__ = ["TrainingConfig", "train"]

__getattr__ = lazy_names(__name__, _HOME)
