"""The table of the losses: names and descriptions here, without torch; their terms are imported on use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from umseg.common.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from umseg.training.loss.head import HeadTargets

Term = Callable[["Tensor", "HeadTargets", "Tensor"], "Tensor"]
"""One term of a loss: (logits, targets, label) to a scalar.

* ``logits``: (batch, outputs, *spatial) float32.
* ``targets``: what the outputs mean and which voxels count (``HeadTargets``).
* ``label``: (batch, *spatial) int64 label values at the same resolution.

The scalar is the mean over the batch. Under deep supervision the term is called once for each resolution.
"""


@dataclass(frozen=True)
class LossSpec:
    """A loss: the sum of its terms.

    Attributes:
        name: Name on the command line.
        description: One line for help texts.
        terms: Functions, or ``module:function``, which are imported on use.
    """

    name: str
    description: str
    terms: tuple[Term | str, ...]

    def functions(self) -> tuple[Term, ...]:
        """The terms as functions."""
        return tuple(resolve_name(term) if isinstance(term, str) else term for term in self.terms)


_DICE = "umseg.training.loss.dice:dice"
_CROSS_ENTROPY = "umseg.training.loss.cross_entropy:cross_entropy"
_OWN = (
    LossSpec("dice_ce", "soft Dice plus cross-entropy", (_DICE, _CROSS_ENTROPY)),
    LossSpec("dice", "soft Dice", (_DICE,)),
    LossSpec("ce", "cross-entropy", (_CROSS_ENTROPY,)),
    LossSpec(
        "dice_topk",
        "soft Dice plus the cross-entropy of the worst tenth of the voxels",
        (_DICE, "umseg.training.loss.top_k:top_k"),
    ),
    LossSpec("dice_focal", "soft Dice plus the focal loss", (_DICE, "umseg.training.loss.focal:focal")),
)

LOSSES: Registry[LossSpec] = Registry(
    "loss", "umseg.losses", {spec.name: spec for spec in _OWN}, accepts=LossSpec, named_by="name"
)
"""The losses by name (docs/rules.md, Loss). With regions the cross-entropy is the binary one."""
