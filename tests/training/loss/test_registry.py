"""The table of the losses, and a loss that another package adds."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from tests.entry_points import add_from_outside
from umseg.common.errors import UserError
from umseg.training.loop.processes import Processes
from umseg.training.loss.head import HeadTargets
from umseg.training.loss.registry import LOSSES, LossSpec
from umseg.training.loss.segmentation import SegmentationLoss
from umseg.training.loss.targets import Targets


def tversky(logits: Tensor, targets: HeadTargets, label: Tensor) -> Tensor:
    """1 - TP / (TP + 0.7 FN + 0.3 FP), over the batch as one image."""
    probability = targets.only_valid(targets.probability(logits), label)
    truth = targets.only_valid(targets.masks(label), label)
    axes = (0, *range(2, logits.dim()))
    hit = (probability * truth).sum(axes)
    index = hit / (hit + 0.7 * (truth - probability * truth).sum(axes) + 0.3 * (probability * (1 - truth)).sum(axes))
    return targets.mean(1 - index[targets.foreground].mean())


TVERSKY = LossSpec("tversky", "Tversky index", (tversky,))


def test_the_table() -> None:
    assert list(LOSSES)[:5] == ["dice_ce", "dice", "ce", "dice_topk", "dice_focal"]
    for name, spec in LOSSES.items():
        assert spec.name == name
        assert spec.description
        assert all(callable(term) for term in spec.functions())


def test_the_table_needs_no_torch() -> None:
    code = "import sys, umseg.training.loss.registry as r; list(r.LOSSES); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unknown_loss_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match="Unknown loss 'dice_ze'") as caught:
        _ = SegmentationLoss(Targets(("a",)), True, "dice_ze").terms
    assert caught.value.remedy == "Did you mean 'dice_ce'?"


@pytest.mark.parametrize(
    "targets", [Targets(("1", "2")), Targets(("1", "2"), None, 3), Targets(("a", "b", "c"), ((1, 2), (2,), (1,)), 3)]
)
def test_a_loss_from_another_package(monkeypatch: pytest.MonkeyPatch, targets: Targets) -> None:
    add_from_outside(monkeypatch, LOSSES, "tversky", f"{__name__}:TVERSKY")
    loss = SegmentationLoss(targets, True, "tversky")
    outputs = [torch.randn(2, 3, size, size, requires_grad=True) for size in (16, 8, 4)]
    labels = [torch.randint(0, 3 if targets.ignore_label is None else 4, (2, size, size)) for size in (16, 8, 4)]
    value = loss(outputs, labels)
    head = HeadTargets(targets, True)
    expected = [tversky(o, head, y).item() for o, y in zip(outputs, labels, strict=True)]
    assert value.item() == pytest.approx(2 / 3 * expected[0] + 1 / 3 * expected[1], rel=1e-6)
    value.backward()
    assert outputs[0].grad is not None
    if targets.ignore_label is not None:
        unseen = (labels[0] == 3).unsqueeze(1).expand_as(outputs[0])
        assert outputs[0].grad[unseen].abs().max() == 0
    assert outputs[0].grad.abs().max() > 0


def test_the_mean_of_a_share_is_weighted(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []

    def total(self: Processes, value: Tensor) -> Tensor:
        seen.append(value)
        return value

    monkeypatch.setattr(Processes, "total", total)
    shared = HeadTargets(Targets(("a",)), True, Processes(0, 2), 0.25)
    assert shared.mean(torch.tensor(8.0)).item() == 2
    assert len(seen) == 1
    assert HeadTargets(Targets(("a",)), True).mean(torch.tensor(8.0)).item() == 8
