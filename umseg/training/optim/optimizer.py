"""The optimisers of a network: one for all of its weights, or several, each for some of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from umseg.models.ssm import MambaLayer
from umseg.training.config.training_config import TrainingConfig
from umseg.training.optim.muon import matrix_weights
from umseg.training.optim.registry import OPTIMIZERS, Groups, OptimizerSettings


def build_optimizers(network: nn.Module, config: TrainingConfig) -> list[torch.optim.Optimizer]:
    """The optimisers that ``config`` asks for (docs/rules.md, Optimisation).

    Where the configuration gives the SSM layers an optimiser, a learning rate or a weight decay of their own, they
    move from the first optimiser to a second one, in which the state matrix and the skip (``A_log``, ``D``) are not
    decayed, as the Mamba authors ask.

    Raises:
        UserError: An optimiser is unknown.
    """
    ssm_optimizer = config.own_ssm_optimizer
    separate = any(value is not None for value in (ssm_optimizer, config.ssm_lr, config.ssm_weight_decay))
    ssm_names = _ssm_parameters(network) if separate else []
    named = dict(network.named_parameters())
    shared = [parameter for name, parameter in named.items() if name not in set(ssm_names)]
    matrices = frozenset(id(weight) for weight in matrix_weights(network))

    def build(name: str, lr: float | None, weight_decay: float | None, groups: Groups) -> list[torch.optim.Optimizer]:
        spec = OPTIMIZERS.look_up(name)
        settings = OptimizerSettings(
            lr=spec.lr if lr is None else lr,
            weight_decay=spec.weight_decay if weight_decay is None else weight_decay,
            momentum=config.momentum,
            eps=config.eps,
            matrices=matrices,
        )
        return spec.build(groups, settings)

    optimizers = build(config.optimizer, config.lr, config.weight_decay, [{"params": shared}])
    if ssm_names:
        fixed = [named[name] for name in ssm_names if name.endswith((".A_log", ".D"))]
        decayed = [named[name] for name in ssm_names if not name.endswith((".A_log", ".D"))]
        groups: Groups = [{"params": decayed}, {"params": fixed, "weight_decay": 0.0}]
        lr, weight_decay = config.ssm_lr, config.ssm_weight_decay
        if ssm_optimizer is None:
            # The network's optimiser, with the network's values where none are given.
            ssm_optimizer = config.optimizer
            lr = config.lr if lr is None else lr
            weight_decay = config.weight_decay if weight_decay is None else weight_decay
        optimizers += build(ssm_optimizer, lr, weight_decay, groups)
    return optimizers


def _ssm_parameters(network: nn.Module) -> list[str]:
    """Names of the Mamba layers' parameters, sorted."""
    return sorted(
        {
            f"{prefix}.{name}"
            for prefix, module in network.named_modules()
            if isinstance(module, MambaLayer)
            for name, _ in module.named_parameters()
        }
    )


def scale_learning_rates(optimizers: list[torch.optim.Optimizer], factor: float) -> None:
    """Set every group's rate to ``factor`` times its initial one."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = optimizer.defaults["lr"] * factor


def step_unless(optimizer: torch.optim.Optimizer, found_inf: Tensor) -> None:
    """Update the weights, but leave weights and state as they are where ``found_inf`` is 1 (a float32 scalar)."""
    if optimizer.defaults.get("fused"):
        # The attributes by which torch's gradient scaler tells a fused optimiser the same.
        optimizer.grad_scale = None  # type: ignore[attr-defined]
        optimizer.found_inf = found_inf  # type: ignore[attr-defined]
        optimizer.step()
    elif not found_inf.item():
        optimizer.step()
