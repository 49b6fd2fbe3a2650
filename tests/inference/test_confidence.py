from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from umseg.evaluation import dice
from umseg.inference.confidence import Agreement, case_confidence


def sums(*members: list[int], classes: int = 3) -> torch.Tensor:
    """Member sums of one plane with one row, whose largest outputs are the given classes."""
    labels = torch.tensor(members)
    return torch.nn.functional.one_hot(labels, classes).float().permute(0, 2, 1)[:, :, None, None, :]


def test_the_mean_over_pairs() -> None:
    agreement = Agreement(3, 3)
    agreement.add(sums([1, 1, 0, 2], [1, 0, 0, 2], [1, 1, 0, 0]))
    liver, tumour = agreement.dice()
    assert liver == pytest.approx((2 / 3 + 1 + 2 / 3) / 3)
    assert tumour == pytest.approx((1 + 0 + 0) / 3)


def test_a_class_that_nobody_finds_has_no_confidence() -> None:
    agreement = Agreement(2, 3)
    agreement.add(sums([1, 0], [1, 0]))
    assert agreement.dice()[0] == 1
    assert math.isnan(agreement.dice()[1])
    assert case_confidence(agreement.dice()) == 1
    assert case_confidence([math.nan]) == 1


@given(st.integers(0, 1000), st.booleans(), st.integers(1, 4))
def test_slabs_add_up_to_the_dice_of_whole_label_maps(seed: int, regions: bool, height: int) -> None:
    members = torch.randn((3, 4, 5, 3, 6), generator=torch.Generator().manual_seed(seed))
    agreement = Agreement(3, 4, regions=regions)
    for start in range(0, 5, height):
        agreement.add(members[:, :, start : start + height])
    masks = members > 0 if regions else torch.stack([members.argmax(dim=1) == c for c in range(4)], dim=1)
    for output, found in zip(range(0 if regions else 1, 4), agreement.dice(), strict=True):
        pairs = [(0, 1), (0, 2), (1, 2)]
        expected = [dice(masks[a, output].numpy(), masks[b, output].numpy()) for a, b in pairs]
        assert found == pytest.approx(np.nanmean(expected))
