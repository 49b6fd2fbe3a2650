from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from umseg.training.loss.segmentation import SegmentationLoss, deep_supervision_weights
from umseg.training.loss.targets import Targets

REGIONS = ((1, 2, 3), (2, 3), (3,))
IGNORED = 4


def plain(classes: int, **fields: Any) -> Targets:
    return Targets(tuple(map(str, range(1, classes))), **fields)


def with_regions(ignore: bool = False) -> Targets:
    return Targets(("whole", "core", "enhancing"), REGIONS, IGNORED if ignore else None)


def softmax_loss(
    logits: NDArray[Any], target: NDArray[Any], batch_dice: bool, valid: NDArray[Any] | None = None
) -> tuple[float, float]:
    """Dice loss and cross-entropy of docs/rules.md, Loss, voxel by voxel in float64."""
    logits = np.moveaxis(logits.astype(np.float64), 1, -1)
    shifted = logits - logits.max(-1, keepdims=True)
    log_probability = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    valid = np.ones(target.shape, bool) if valid is None else valid
    chosen = np.take_along_axis(log_probability, np.where(valid, target, 0)[..., None], -1)[..., 0]
    entropy = -(chosen * valid).sum() / max(valid.sum(), 1)
    reference = np.stack([target == value for value in range(1, logits.shape[-1])], axis=-1)
    return numpy_dice(np.exp(log_probability)[..., 1:], reference, batch_dice, valid), float(entropy)


def sigmoid_loss(
    logits: NDArray[Any], target: NDArray[Any], batch_dice: bool, valid: NDArray[Any] | None
) -> tuple[float, float]:
    """The same for regions: with an ignore label the sum over the regions is divided by the voxels counted once."""
    logits = np.moveaxis(logits.astype(np.float64), 1, -1)
    reference = np.stack([np.isin(target, region) for region in REGIONS], axis=-1)
    entropy = np.logaddexp(0, logits) - logits * reference
    if valid is None:
        binary = entropy.mean()
        valid = np.ones(target.shape, bool)
    else:
        binary = (entropy * valid[..., None]).sum() / max(valid.sum(), 1)
    return numpy_dice(1 / (1 + np.exp(-logits)), reference, batch_dice, valid), float(binary)


def numpy_dice(probability: NDArray[Any], reference: NDArray[Any], batch_dice: bool, valid: NDArray[Any]) -> float:
    groups = [slice(None)] if batch_dice else [slice(i, i + 1) for i in range(len(reference))]
    dice = []
    for group in groups:
        for c in range(probability.shape[-1]):
            p, y = probability[group][..., c] * valid[group], reference[group][..., c] * valid[group]
            dice.append((2 * (p * y).sum() + 1e-5) / max(p.sum() + y.sum() + 1e-5, 1e-8))
    return -float(np.mean(dice))


def example(classes: int, shape: tuple[int, ...], seed: int = 0, values: int | None = None) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn((shape[0], classes, *shape[1:]), generator=generator)
    return logits, torch.randint(0, values or classes, shape, generator=generator)


def loss_of(logits: Tensor, target: Tensor, batch_dice: bool, name: str = "dice_ce") -> Tensor:
    return SegmentationLoss(plain(logits.shape[1]), batch_dice, name).of_head(logits, target)


@pytest.mark.parametrize("batch_dice", [False, True])
@pytest.mark.parametrize(("classes", "shape"), [(2, (3, 4, 5)), (4, (2, 3, 4, 5)), (14, (2, 6, 6))])
def test_equals_the_formula(classes: int, shape: tuple[int, ...], batch_dice: bool) -> None:
    logits, target = example(classes, shape)
    dice, entropy = softmax_loss(logits.numpy(), target.numpy(), batch_dice)
    assert loss_of(logits, target, batch_dice, "dice").item() == pytest.approx(dice, rel=1e-5)
    assert loss_of(logits, target, batch_dice, "ce").item() == pytest.approx(entropy, rel=1e-5)
    assert loss_of(logits, target, batch_dice).item() == pytest.approx(dice + entropy, rel=1e-5)


@pytest.mark.parametrize("batch_dice", [False, True])
def test_equals_the_formula_where_a_class_is_absent(batch_dice: bool) -> None:
    logits, target = example(3, (2, 5, 5))
    target[target == 2] = 0
    dice, entropy = softmax_loss(logits.numpy(), target.numpy(), batch_dice)
    assert loss_of(logits, target, batch_dice).item() == pytest.approx(dice + entropy, rel=1e-5)


@pytest.mark.parametrize("batch_dice", [False, True])
def test_ignored_voxels_count_nowhere(batch_dice: bool) -> None:
    logits, target = example(3, (2, 5, 6), values=4)
    dice, entropy = softmax_loss(logits.numpy(), target.numpy(), batch_dice, valid=target.numpy() != 3)
    loss = SegmentationLoss(plain(3, ignore_label=3), batch_dice)
    assert loss.of_head(logits, target).item() == pytest.approx(dice + entropy, rel=1e-5)
    changed = torch.where((target == 3).unsqueeze(1), 7 * torch.randn_like(logits), logits)
    assert loss.of_head(changed, target).item() == pytest.approx(loss.of_head(logits, target).item(), rel=1e-6)


@pytest.mark.parametrize("ignore", [False, True])
@pytest.mark.parametrize("batch_dice", [False, True])
def test_regions_equal_the_formula(batch_dice: bool, ignore: bool) -> None:
    logits, target = example(3, (2, 5, 4, 3), values=5 if ignore else 4)
    valid = target.numpy() != IGNORED if ignore else None
    dice, binary = sigmoid_loss(logits.numpy(), target.numpy(), batch_dice, valid)
    loss = SegmentationLoss(with_regions(ignore), batch_dice)
    assert loss.of_head(logits, target).item() == pytest.approx(dice + binary, rel=1e-5)


@pytest.mark.parametrize("targets", [plain(3, ignore_label=3), Targets(("a", "b", "c"), REGIONS, IGNORED)])
@pytest.mark.parametrize("name", ["dice_ce", "dice", "ce", "dice_topk", "dice_focal"])
def test_a_patch_without_any_annotation_teaches_nothing(targets: Targets, name: str) -> None:
    logits = example(3, (2, 4, 4))[0].requires_grad_()
    target = torch.full((2, 4, 4), targets.ignore_label or 0)
    loss = SegmentationLoss(targets, True, name).of_head(logits, target)
    loss.backward()
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert logits.grad.abs().max() == 0


def test_topk_is_the_mean_of_the_worst_tenth() -> None:
    logits, target = example(3, (2, 10, 10))
    entropy = torch.nn.functional.cross_entropy(logits, target, reduction="none").flatten().sort().values
    expected = loss_of(logits, target, False, "dice") + entropy[-20:].mean()
    assert loss_of(logits, target, False, "dice_topk").item() == pytest.approx(expected.item(), rel=1e-6)


def test_focal_loss_weights_the_cross_entropy() -> None:
    logits, target = example(3, (2, 6, 6))
    right = torch.softmax(logits, 1).gather(1, target.unsqueeze(1))
    expected = loss_of(logits, target, False, "dice") - ((1 - right) ** 2 * right.log()).mean()
    assert loss_of(logits, target, False, "dice_focal").item() == pytest.approx(expected.item(), rel=1e-5)


def test_batch_dice_differs_from_the_dice_of_the_samples() -> None:
    logits, target = example(2, (2, 6, 6))
    target[0] = 0
    assert loss_of(logits, target, True, "dice").item() != pytest.approx(loss_of(logits, target, False, "dice").item())


def test_perfect_prediction() -> None:
    _, target = example(3, (2, 6, 6))
    logits = 50 * torch.nn.functional.one_hot(target, 3).movedim(-1, 1).float()
    assert loss_of(logits, target, False, "dice").item() == pytest.approx(-1, abs=1e-6)
    assert loss_of(logits, target, False).item() == pytest.approx(-1, abs=1e-6)


def test_absent_class_that_is_not_predicted_counts_as_right() -> None:
    target = torch.zeros((1, 4, 4), dtype=torch.int64)
    logits = torch.stack([torch.full((1, 4, 4), 100.0), torch.full((1, 4, 4), -100.0)], dim=1)
    assert loss_of(logits, target, False, "dice").item() == pytest.approx(-1, abs=1e-6)


@given(seed=st.integers(0, 2**31), classes=st.integers(2, 5), scale=st.sampled_from([0.0, 1.0, 30.0]))
@settings(max_examples=30, deadline=None)
def test_soft_dice_lies_between_minus_one_and_zero(seed: int, classes: int, scale: float) -> None:
    logits, target = example(classes, (2, 4, 4), seed)
    assert -1 - 1e-6 <= loss_of(scale * logits, target, seed % 2 == 0, "dice").item() <= 0


@given(seed=st.integers(0, 2**31), batch_dice=st.booleans())
@settings(max_examples=30, deadline=None)
def test_order_of_the_voxels_does_not_matter(seed: int, batch_dice: bool) -> None:
    logits, target = example(3, (2, 24), seed)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(seed))
    before = loss_of(logits, target, batch_dice).item()
    assert loss_of(logits[..., order], target[..., order], batch_dice).item() == pytest.approx(before, rel=1e-5)


@pytest.mark.parametrize("name", ["dice_ce", "dice_topk", "dice_focal"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_loss_and_gradient_stay_finite_for_extreme_logits(dtype: torch.dtype, sign: float, name: str) -> None:
    _, target = example(3, (2, 4, 4))
    one_hot = torch.nn.functional.one_hot(target, 3).movedim(-1, 1)
    logits = (sign * 1e4 * (2 * one_hot - 1)).to(dtype).requires_grad_()
    loss = loss_of(logits, target, True, name)
    loss.backward()
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert (sign < 0) == bool(logits.grad.abs().sum() > 0)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_regions_stay_finite_for_extreme_logits(sign: float) -> None:
    _, target = example(3, (2, 4, 4), values=5)
    logits = (sign * 1e4 * torch.ones(2, 3, 4, 4)).half().requires_grad_()
    loss = SegmentationLoss(with_regions(ignore=True), True).of_head(logits, target)
    loss.backward()
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_half_precision_is_summed_in_single_precision() -> None:
    """A sum over 40,000 voxels in bfloat16 would stop growing at 256."""
    logits = torch.zeros((1, 2, 200, 200), dtype=torch.bfloat16)
    target = torch.ones((1, 200, 200), dtype=torch.int64)
    loss = loss_of(logits, target, False)
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
    expected = sum(w * loss_of(o, t, True).item() for w, o, t in zip((2 / 3, 1 / 3, 0), outputs, targets, strict=True))
    assert SegmentationLoss(plain(3), True)(outputs, targets).item() == pytest.approx(expected, rel=1e-6)


def test_a_head_without_its_target_is_refused() -> None:
    logits, target = example(2, (1, 4, 4))
    with pytest.raises(ValueError, match="shorter"):
        SegmentationLoss(plain(2), True)([logits, logits], [target])
