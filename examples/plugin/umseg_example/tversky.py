"""The Tversky loss (Salehi et al. 2017), which weighs missed voxels more than false ones, with cross-entropy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from umseg.training.loss.registry import LossSpec

if TYPE_CHECKING:
    from torch import Tensor

    from umseg.training.loss.head import HeadTargets

FALSE, MISSED, SMOOTHING = 0.3, 0.7, 1e-5


def tversky(logits: Tensor, targets: HeadTargets, label: Tensor) -> Tensor:
    """Minus the mean Tversky index of the foreground outputs, per sample."""
    probability = targets.only_valid(targets.probability(logits), label)
    truth = targets.only_valid(targets.masks(label), label)
    axes = tuple(range(2, probability.dim()))
    found = (probability * truth).sum(axes)
    false, missed = (probability * (1 - truth)).sum(axes), ((1 - probability) * truth).sum(axes)
    index = (found + SMOOTHING) / (found + FALSE * false + MISSED * missed + SMOOTHING)
    return targets.mean(-index[:, targets.foreground].mean())


TVERSKY_CE = LossSpec(
    name="tversky_ce",
    description="Tversky index plus cross-entropy",
    terms=(tversky, "umseg.training.loss.cross_entropy:cross_entropy"),
)
