"""The optimiser NAdam, from torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from umseg.training.optim.registry import Groups, OptimizerSettings, OptimizerSpec

if TYPE_CHECKING:
    import torch


def nadam(groups: Groups, settings: OptimizerSettings) -> list[torch.optim.Optimizer]:
    """One optimiser for all parameters."""
    import torch

    return [torch.optim.NAdam(groups, lr=settings.lr, weight_decay=settings.weight_decay, eps=settings.eps)]


NADAM = OptimizerSpec(name="nadam", description="Adam with Nesterov momentum", lr=2e-3, weight_decay=0.0, builder=nadam)
