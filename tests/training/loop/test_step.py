"""One step: accumulation, and steps that are left out."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch import nn

from tests.training.factories import make_network
from umseg.common.errors import UserError
from umseg.models.device import place
from umseg.models.registry import enable_activation_checkpoints
from umseg.training.config.training_config import TrainingConfig
from umseg.training.data.batches import Batch
from umseg.training.loop.step import MOST_IN_A_ROW, TrainingStep
from umseg.training.loss.segmentation import SegmentationLoss
from umseg.training.loss.targets import Targets
from umseg.training.optim.optimizer import build_optimizers

CPU = torch.device("cpu")


def make_step(network: nn.Module | None = None, **options: Any) -> TrainingStep:
    config = TrainingConfig(**options)
    network = place(network or make_network(), CPU)
    loss = SegmentationLoss(Targets(("a", "b")), batch_dice=False)
    return TrainingStep(network, build_optimizers(network, config), loss, config, CPU, torch.float32, batch_size=4)


def make_batch(seed: int = 0, size: int = 4, bad: bool = False) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    data = torch.randn((size, 1, 8, 8, 8), generator=generator)
    if bad:
        data[0, 0, 3, 3, 3] = torch.nan
    label = torch.randint(0, 3, (size, 8, 8, 8), generator=generator).to(torch.int16)
    return Batch(data, (label,), tuple(f"case{i}" for i in range(size)))


def weights(step: TrainingStep) -> list[torch.Tensor]:
    return [p.detach().clone() for p in step.network.parameters()]


@pytest.mark.parametrize("parts", [2, 3, 4, 9])
def test_a_batch_in_parts_gives_the_same_step(parts: int) -> None:
    """Dice per sample and cross-entropy are means over samples, so parts change nothing but rounding."""
    whole, split = make_step(), make_step(accumulate=parts)
    losses = [step(make_batch()) for step in (whole, split)]
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-5)
    for one, other in zip(weights(whole), weights(split), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("model", ["nnunet", "umamba_enc"])
def test_activation_checkpoints_change_no_bit(model: str) -> None:
    plain, saving = (make_step(make_network(model=model, deep_supervision=True)) for _ in range(2))
    enable_activation_checkpoints(saving.network, model)
    for step in (plain, saving):
        label = make_batch().targets[0]
        step(Batch(make_batch().data, (label, label[:, ::2, ::2, ::2]), ("c",) * 4))
    for one, other in zip(weights(plain), weights(saving), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "muon"])
def test_a_step_with_a_bad_number_is_left_out(optimizer: str, caplog: pytest.LogCaptureFixture) -> None:
    step, undisturbed = make_step(optimizer=optimizer), make_step(optimizer=optimizer)
    before = weights(step)
    with caplog.at_level(logging.WARNING):
        loss = step(make_batch(bad=True))
    assert torch.isnan(loss)
    assert "case0, case1" in caplog.text
    assert all(torch.equal(p, q) for p, q in zip(before, weights(step), strict=True))
    for seed in (1, 2):
        step(make_batch(seed))
        undisturbed(make_batch(seed))
    assert all(torch.equal(p, q) for p, q in zip(weights(step), weights(undisturbed), strict=True))


def test_several_bad_steps_in_a_row_stop_with_advice() -> None:
    step = make_step()
    for _ in range(MOST_IN_A_ROW - 1):
        step(make_batch(bad=True))
    step(make_batch())
    for _ in range(MOST_IN_A_ROW - 1):
        step(make_batch(bad=True))
    with pytest.raises(UserError, match="5 consecutive steps") as caught:
        step(make_batch(bad=True))
    assert "case0" in str(caught.value.found)
    assert "--lr" in str(caught.value.remedy)


def test_the_gradient_is_clipped() -> None:
    free, clipped = make_step(clip=0, momentum=0, lr=1), make_step(clip=1e-3, momentum=0, lr=1, weight_decay=0)
    start = weights(clipped)
    for step in (free, clipped):
        step(make_batch())
    moved = torch.stack([(p - q).norm() for p, q in zip(start, weights(clipped), strict=True)]).norm()
    assert moved.item() == pytest.approx(1e-3, rel=1e-3)
    assert torch.stack([(p - q).norm() for p, q in zip(start, weights(free), strict=True)]).norm() > 0.01


def test_without_deep_supervision_only_the_full_resolution_counts() -> None:
    step = make_step(make_network(deep_supervision=False))
    batch = make_batch()
    logits = step.network(batch.data)
    expected = step.loss.of_head(logits, batch.targets[0].long())
    assert step.evaluate(batch)[0].item() == pytest.approx(expected.item(), rel=1e-5)
