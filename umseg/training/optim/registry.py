"""The table of the optimisers: names and defaults here, without torch; what builds them is imported on use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from umseg.common.registry import Registry

if TYPE_CHECKING:
    import torch

Groups = list[dict[str, Any]]
"""Parameter groups as torch's optimisers take them."""


@dataclass(frozen=True)
class OptimizerSettings:
    """What an optimiser is built with.

    Attributes:
        lr: Initial learning rate.
        weight_decay: Weight decay.
        momentum: Momentum of SGD.
        eps: Number that Adam and AdamW add to the root of the second moment.
        matrices: ``id`` of every parameter that acts as one matrix (``umseg.training.optim.muon.matrix_weights``).
    """

    lr: float
    weight_decay: float
    momentum: float = 0.99
    eps: float = 1e-8
    matrices: frozenset[int] = frozenset()


Build = Callable[[Groups, OptimizerSettings], "list[torch.optim.Optimizer]"]
"""Builds one optimiser or several from parameter groups; together they train every parameter of the groups once.

The state of each parameter may hold tensors only: nothing else is saved in checkpoints.
"""


@dataclass(frozen=True)
class OptimizerSpec:
    """An optimiser.

    Attributes:
        name: Name on the command line.
        description: One line for help texts.
        lr: Default of the initial learning rate.
        weight_decay: Default of the weight decay.
        builder: The function that builds it, or ``module:function``, which is imported on use.
        ssm_optimizer: Optimiser of the Mamba layers where the user names none; None trains them with all other layers.
    """

    name: str
    description: str
    lr: float
    weight_decay: float
    builder: Build | str
    ssm_optimizer: str | None = None

    def build(self, groups: Groups, settings: OptimizerSettings) -> list[torch.optim.Optimizer]:
        """The optimisers of some parameter groups."""
        build: Build = resolve_name(self.builder) if isinstance(self.builder, str) else self.builder
        return build(groups, settings)


_BUILDERS = "umseg.training.optim.builders"
_OWN = (
    OptimizerSpec("sgd", "SGD with Nesterov momentum", 1e-2, 3e-5, f"{_BUILDERS}:sgd"),
    OptimizerSpec("adam", "Adam", 1e-3, 0.0, f"{_BUILDERS}:adam"),
    OptimizerSpec("adamw", "AdamW, Adam with decoupled weight decay", 1e-3, 1e-2, f"{_BUILDERS}:adamw"),
    # Muon's large steps let a network with Mamba layers in every stage diverge (docs/ssm_training.md).
    OptimizerSpec(
        "muon",
        "Muon for the weights of hidden layers; AdamW for norms, biases and output layers at a tenth of the rate, and "
        "for Mamba layers at its own",
        1e-1,
        1e-2,
        f"{_BUILDERS}:muon",
        ssm_optimizer="adamw",
    ),
)

OPTIMIZERS: Registry[OptimizerSpec] = Registry(
    "optimiser", "umseg.optimizers", {spec.name: spec for spec in _OWN}, accepts=OptimizerSpec, named_by="name"
)
"""The optimisers by name (docs/rules.md, Optimisation)."""
