"""The functions that build the optimisers of ``umseg.training.optim.registry``."""

from __future__ import annotations

from dataclasses import replace

import torch

from umseg.training.optim.muon import Muon
from umseg.training.optim.registry import Groups, OptimizerSettings

_FUSED = ("cpu", "cuda")
"""Devices whose fused optimisers can be told on the device, without waiting for it, to leave a step out."""

ADAMW_SHARE = 0.1
"""Learning rate of the parameters that are no matrices, as a fraction of Muon's."""


def sgd(groups: Groups, settings: OptimizerSettings) -> list[torch.optim.Optimizer]:
    """Stochastic gradient descent, with Nesterov momentum where the momentum is positive."""
    optimizer = torch.optim.SGD(
        groups,
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        momentum=settings.momentum,
        nesterov=settings.momentum > 0,
        fused=_can_be_fused(groups),
    )
    if settings.momentum:
        # If the first step is left out, a buffer that torch creates would stay uninitialised.
        for group in groups:
            for parameter in group["params"]:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return [optimizer]


def adam(groups: Groups, settings: OptimizerSettings) -> list[torch.optim.Optimizer]:
    """Adam."""
    return [
        torch.optim.Adam(
            groups,
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            eps=settings.eps,
            fused=_can_be_fused(groups),
        )
    ]


def adamw(groups: Groups, settings: OptimizerSettings) -> list[torch.optim.Optimizer]:
    """Adam with decoupled weight decay."""
    return [
        torch.optim.AdamW(
            groups,
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            eps=settings.eps,
            fused=_can_be_fused(groups),
        )
    ]


def muon(groups: Groups, settings: OptimizerSettings) -> list[torch.optim.Optimizer]:
    """Muon for the matrices, and AdamW at a share of its learning rate for all other parameters."""
    matrices, others = _split(groups, settings.matrices)
    return [
        Muon(matrices, lr=settings.lr, weight_decay=settings.weight_decay),
        *adamw(others, replace(settings, lr=ADAMW_SHARE * settings.lr)),
    ]


def _split(groups: Groups, chosen: frozenset[int]) -> tuple[Groups, Groups]:
    """Each group's parameters whose ``id`` is chosen, and the others; empty groups are left out."""
    parts: tuple[Groups, Groups] = ([], [])
    for group in groups:
        for part, is_chosen in zip(parts, (True, False), strict=True):
            params = [p for p in group["params"] if (id(p) in chosen) == is_chosen]
            if params:
                part.append({**group, "params": params})
    return parts


def _can_be_fused(groups: Groups) -> bool:
    return all(p.device.type in _FUSED for group in groups for p in group["params"])
