"""Training: splits, patches, augmentation, loss, schedule, the loop and its checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from umseg.training.config import TrainingConfig
    from umseg.training.run import train

_HOME = {"TrainingConfig": "config", "train": "run"}

__all__ = ["TrainingConfig", "train"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
