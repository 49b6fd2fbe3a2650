from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from umseg.training.loss import deep_supervision_loss, deep_supervision_weights, dice_ce_loss, soft_dice_loss


def plain_losses(logits: NDArray[Any], target: NDArray[Any], batch_dice: bool) -> tuple[float, float]:
    """Dice loss and cross-entropy of facts 1.10, voxel by voxel in float64."""
    logits = np.moveaxis(logits.astype(np.float64), 1, -1)
    shifted = logits - logits.max(-1, keepdims=True)
    log_probability = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    entropy = -np.mean(np.take_along_axis(log_probability, target[..., None], -1))
    probability = np.exp(log_probability)
    groups = [slice(None)] if batch_dice else [slice(i, i + 1) for i in range(len(target))]
    dice = []
    for group in groups:
        for value in range(1, logits.shape[-1]):
            p, y = probability[group][..., value], (target[group] == value).astype(np.float64)
            dice.append((2 * (p * y).sum() + 1e-5) / max(p.sum() + y.sum() + 1e-5, 1e-8))
    return -float(np.mean(dice)), float(entropy)


def example(classes: int, shape: tuple[int, ...], seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn((shape[0], classes, *shape[1:]), generator=generator)
    return logits, torch.randint(0, classes, shape, generator=generator)


@pytest.mark.parametrize("batch_dice", [False, True])
@pytest.mark.parametrize(("classes", "shape"), [(2, (3, 4, 5)), (4, (2, 3, 4, 5)), (14, (2, 6, 6))])
def test_equals_the_formula(classes: int, shape: tuple[int, ...], batch_dice: bool) -> None:
    logits, target = example(classes, shape)
    dice, entropy = plain_losses(logits.numpy(), target.numpy(), batch_dice)
    assert soft_dice_loss(logits, target, batch_dice).item() == pytest.approx(dice, rel=1e-5)
    assert dice_ce_loss(logits, target, batch_dice).item() == pytest.approx(dice + entropy, rel=1e-5)


@pytest.mark.parametrize("batch_dice", [False, True])
def test_equals_the_formula_where_a_class_is_absent(batch_dice: bool) -> None:
    logits, target = example(3, (2, 5, 5))
    target[target == 2] = 0
    dice, entropy = plain_losses(logits.numpy(), target.numpy(), batch_dice)
    assert dice_ce_loss(logits, target, batch_dice).item() == pytest.approx(dice + entropy, rel=1e-5)


def test_batch_dice_differs_from_the_dice_of_the_samples() -> None:
    logits, target = example(2, (2, 6, 6))
    target[0] = 0
    assert soft_dice_loss(logits, target, True).item() != pytest.approx(soft_dice_loss(logits, target, False).item())


def test_perfect_prediction() -> None:
    _, target = example(3, (2, 6, 6))
    logits = 50 * torch.nn.functional.one_hot(target, 3).movedim(-1, 1).float()
    assert soft_dice_loss(logits, target, False).item() == pytest.approx(-1, abs=1e-6)
    assert dice_ce_loss(logits, target, False).item() == pytest.approx(-1, abs=1e-6)


def test_absent_class_that_is_not_predicted_counts_as_right() -> None:
    target = torch.zeros((1, 4, 4), dtype=torch.int64)
    logits = torch.stack([torch.full((1, 4, 4), 100.0), torch.full((1, 4, 4), -100.0)], dim=1)
    assert soft_dice_loss(logits, target, False).item() == pytest.approx(-1, abs=1e-6)


@given(seed=st.integers(0, 2**31), classes=st.integers(2, 5), scale=st.sampled_from([0.0, 1.0, 30.0]))
@settings(max_examples=30, deadline=None)
def test_soft_dice_lies_between_minus_one_and_zero(seed: int, classes: int, scale: float) -> None:
    logits, target = example(classes, (2, 4, 4), seed)
    assert -1 - 1e-6 <= soft_dice_loss(scale * logits, target, seed % 2 == 0).item() <= 0


@given(seed=st.integers(0, 2**31), batch_dice=st.booleans())
@settings(max_examples=30, deadline=None)
def test_order_of_the_voxels_does_not_matter(seed: int, batch_dice: bool) -> None:
    logits, target = example(3, (2, 24), seed)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(seed))
    before = dice_ce_loss(logits, target, batch_dice).item()
    assert dice_ce_loss(logits[..., order], target[..., order], batch_dice).item() == pytest.approx(before, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_loss_and_gradient_stay_finite_for_extreme_logits(dtype: torch.dtype, sign: float) -> None:
    _, target = example(3, (2, 4, 4))
    one_hot = torch.nn.functional.one_hot(target, 3).movedim(-1, 1)
    logits = (sign * 1e4 * (2 * one_hot - 1)).to(dtype).requires_grad_()
    loss = dice_ce_loss(logits, target, True)
    loss.backward()
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert (sign < 0) == bool(logits.grad.abs().sum() > 0)


def test_half_precision_is_summed_in_single_precision() -> None:
    """A sum over 40,000 voxels in bfloat16 would stop growing at 256."""
    logits = torch.zeros((1, 2, 200, 200), dtype=torch.bfloat16)
    target = torch.ones((1, 200, 200), dtype=torch.int64)
    loss = dice_ce_loss(logits, target, False)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(-2 / 3 + np.log(2), rel=1e-5)


@pytest.mark.parametrize(
    ("heads", "weights"),
    [
        (1, (1.0,)),
        (2, (1.0, 0.0)),
        (3, (0.66667, 0.33333, 0)),
        (5, (0.53333, 0.26667, 0.13333, 0.06667, 0)),
        (6, (0.51613, 0.25806, 0.12903, 0.06452, 0.03226, 0)),
    ],
)
def test_weights_of_the_heads(heads: int, weights: tuple[float, ...]) -> None:
    assert deep_supervision_weights(heads) == pytest.approx(weights, abs=5e-6)
    assert sum(deep_supervision_weights(heads)) == pytest.approx(1)


def test_deep_supervision_is_the_weighted_sum() -> None:
    pairs = [example(3, (2, n, n), seed=n) for n in (8, 4, 2)]
    outputs, targets = [p[0] for p in pairs], [p[1] for p in pairs]
    expected = sum(
        w * dice_ce_loss(o, t, True).item() for w, o, t in zip((2 / 3, 1 / 3, 0), outputs, targets, strict=True)
    )
    assert deep_supervision_loss(outputs, targets, True).item() == pytest.approx(expected, rel=1e-6)


def test_a_head_without_its_target_is_refused() -> None:
    logits, target = example(2, (1, 4, 4))
    with pytest.raises(ValueError, match="shorter"):
        deep_supervision_loss([logits, logits], [target], True)
