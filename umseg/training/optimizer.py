"""The optimisers: one for the network, or a second one for its SSM layers."""

from __future__ import annotations

import torch
from torch import nn

from umseg.models.ssm import MambaLayer
from umseg.training.config import DEFAULT_LR, DEFAULT_WEIGHT_DECAY, OptimizerName, TrainingConfig


def build_optimizers(network: nn.Module, config: TrainingConfig) -> list[torch.optim.Optimizer]:
    """SGD with Nesterov momentum 0.99 and weight decay 3e-5 on all parameters (facts 1.11), or AdamW.

    Where the configuration gives the SSM layers an optimiser or a learning rate of their own, they leave the first
    optimiser for a second one, in which the state matrix and the skip (``A_log``, ``D``) are not decayed, as the Mamba
    authors ask.
    """
    own = config.ssm_optimizer is not None or config.ssm_lr is not None
    ssm_names = {
        f"{prefix}.{name}"
        for prefix, module in network.named_modules()
        if isinstance(module, MambaLayer)
        for name, _ in module.named_parameters()
    }
    named = dict(network.named_parameters())
    rest = [p for name, p in named.items() if not (own and name in ssm_names)]
    optimizers = [_optimizer(config.optimizer, config.lr, [{"params": rest}])]
    if own and ssm_names:
        fixed = [named[n] for n in sorted(ssm_names) if n.endswith((".A_log", ".D"))]
        decayed = [named[n] for n in sorted(ssm_names) if not n.endswith((".A_log", ".D"))]
        groups: list[dict[str, object]] = [{"params": decayed}, {"params": fixed, "weight_decay": 0.0}]
        optimizers.append(_optimizer(config.ssm_optimizer or config.optimizer, config.ssm_lr, groups))
    return optimizers


def scale_learning_rates(optimizers: list[torch.optim.Optimizer], factor: float) -> None:
    """Set every group's rate to ``factor`` times its initial one."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = optimizer.defaults["lr"] * factor


def _optimizer(name: OptimizerName, lr: float | None, groups: list[dict[str, object]]) -> torch.optim.Optimizer:
    lr = DEFAULT_LR[name] if lr is None else lr
    decay = DEFAULT_WEIGHT_DECAY[name]
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=lr, weight_decay=decay)
    return torch.optim.SGD(groups, lr=lr, weight_decay=decay, momentum=0.99, nesterov=True)
