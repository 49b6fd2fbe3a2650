"""The optimisers: one for the network, or several, each for some of its weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from umseg.models.ssm import MambaLayer
from umseg.training.config.training_config import DEFAULT_LR, DEFAULT_WEIGHT_DECAY, OptimizerName, TrainingConfig
from umseg.training.optim.muon import Muon, matrix_weights

_FUSED = ("cpu", "cuda")
"""Devices whose fused optimisers can be told on the device, without waiting for it, to leave a step out."""

ADAMW_SHARE = 0.1
"""Of Muon's learning rate, for the parameters that are no matrices."""

Groups = list[dict[str, Any]]


def build_optimizers(network: nn.Module, config: TrainingConfig) -> list[torch.optim.Optimizer]:
    """SGD with Nesterov momentum 0.99 and weight decay 3e-5 on all parameters, or Adam, AdamW or Muon.

    Source: docs/rules.md, Optimisation.

    Muon trains the weights of convolutions and linear layers but the output's; AdamW, at a share of its rate, all else.

    Where the configuration gives the SSM layers an optimiser, a learning rate or a weight decay of their own, they
    leave the first optimiser for a second one, in which the state matrix and the skip (``A_log``, ``D``) are not
    decayed, as the Mamba authors ask.
    """
    kind = config.own_ssm_optimizer
    own = any(value is not None for value in (kind, config.ssm_lr, config.ssm_weight_decay))
    ssm_names = {
        f"{prefix}.{name}"
        for prefix, module in network.named_modules()
        if isinstance(module, MambaLayer)
        for name, _ in module.named_parameters()
    }
    named = dict(network.named_parameters())
    rest = [p for name, p in named.items() if not (own and name in ssm_names)]
    matrices = {id(weight) for weight in matrix_weights(network)}
    optimizers = _optimizers(config, config.optimizer, config.lr, config.weight_decay, [{"params": rest}], matrices)
    if own and ssm_names:
        fixed = [named[n] for n in sorted(ssm_names) if n.endswith((".A_log", ".D"))]
        decayed = [named[n] for n in sorted(ssm_names) if not n.endswith((".A_log", ".D"))]
        groups: Groups = [{"params": decayed}, {"params": fixed, "weight_decay": 0.0}]
        lr, decay = config.ssm_lr, config.ssm_weight_decay
        if kind is None:
            # The network's, and with its values where none is given.
            kind = config.optimizer
            lr = config.lr if lr is None else lr
            decay = config.weight_decay if decay is None else decay
        optimizers += _optimizers(config, kind, lr, decay, groups, matrices)
    return optimizers


def scale_learning_rates(optimizers: list[torch.optim.Optimizer], factor: float) -> None:
    """Set every group's rate to ``factor`` times its initial one."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = optimizer.defaults["lr"] * factor


def step_unless(optimizer: torch.optim.Optimizer, found_inf: Tensor) -> None:
    """Update the weights, but leave weights and state as they are where ``found_inf`` is 1 (a float32 scalar)."""
    if optimizer.defaults["fused"]:
        # The attributes by which torch's gradient scaler tells a fused optimiser the same.
        optimizer.grad_scale = None  # type: ignore[attr-defined]
        optimizer.found_inf = found_inf  # type: ignore[attr-defined]
        optimizer.step()
    elif not found_inf.item():
        optimizer.step()


def _optimizers(
    config: TrainingConfig,
    name: OptimizerName,
    lr: float | None,
    decay: float | None,
    groups: Groups,
    matrices: set[int],
) -> list[torch.optim.Optimizer]:
    """What trains some groups of parameters; ``matrices`` holds the ``id`` of those that Muon can train."""
    lr = DEFAULT_LR[name] if lr is None else lr
    decay = DEFAULT_WEIGHT_DECAY[name] if decay is None else decay
    if name != "muon":
        return [_optimizer(config, name, lr, decay, groups)]
    weights, others = _split(groups, matrices)
    return [
        Muon(weights, lr=lr, weight_decay=decay),
        _optimizer(config, "adamw", ADAMW_SHARE * lr, decay, others),
    ]


def _split(groups: Groups, chosen: set[int]) -> tuple[Groups, Groups]:
    """Each group's parameters whose ``id`` is chosen, and the others; groups of none are left out."""
    parts: tuple[Groups, Groups] = ([], [])
    for group in groups:
        for part, wanted in zip(parts, (True, False), strict=True):
            params = [p for p in group["params"] if (id(p) in chosen) == wanted]
            if params:
                part.append({**group, "params": params})
    return parts


def _optimizer(
    config: TrainingConfig, name: OptimizerName, lr: float, decay: float, groups: Groups
) -> torch.optim.Optimizer:
    fused = all(p.device.type in _FUSED for group in groups for p in group["params"])
    if name == "adam":
        return torch.optim.Adam(groups, lr=lr, weight_decay=decay, eps=config.eps, fused=fused)
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=lr, weight_decay=decay, eps=config.eps, fused=fused)
    momentum = config.momentum
    sgd = torch.optim.SGD(groups, lr=lr, weight_decay=decay, momentum=momentum, nesterov=momentum > 0, fused=fused)
    if momentum:
        # A first step that is left out would leave a buffer that nothing was written to.
        for group in groups:
            for parameter in group["params"]:
                sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return sgd
