from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from umseg.training.augmentation import Context, patch_geometry
from umseg.training.augmentation.transform import draw_all
from umseg.training.augmentation.transforms.cascade_removal import CascadeRemoval, remove_component


@pytest.mark.parametrize("position", [0.0, 0.5, 0.99])
def test_one_small_component_is_removed(position: float) -> None:
    label = np.zeros((20, 20), dtype=np.int16)
    label[:, :10] = 1
    label[2:4, 14:16] = label[8:10, 14:16] = 1
    label[15, 15] = 2
    before = label.copy()
    remove_component(label, 1, position)
    gone = before != label
    assert gone.sum() == 4
    assert (label[gone] == 0).all()
    assert (label[:, :10] == 1).all(), "half of the patch is no small component"


def test_every_small_component_can_be_removed() -> None:
    removed = set()
    for position in (0.0, 0.2, 0.4, 0.6, 0.8):
        label = np.zeros(11, dtype=np.int16)
        label[1::2] = 3
        remove_component(label, 3, position)
        removed |= {int(place) for place in np.flatnonzero(label[1::2] == 0)}
    assert removed == {0, 1, 2, 3, 4}


def test_nothing_is_removed_where_there_is_nothing() -> None:
    label = np.zeros((6, 6), dtype=np.int16)
    remove_component(label, 1, 0.5)
    assert not label.any()


def test_one_in_five_samples_loses_a_component_of_every_class() -> None:
    context = Context(1, patch_geometry((20, 20)), (1, 2))
    drawn = draw_all(CascadeRemoval(), range(3000), context)
    applied = [params for params in drawn if params is not None]
    assert stats.binomtest(len(applied), 3000, 0.2).pvalue > 0.005
    assert all([removal.value for removal in params] == [1, 2] for params in applied)
    positions = [removal.position for params in applied for removal in params]
    assert stats.kstest(positions, stats.uniform(0, 1).cdf).pvalue > 0.005


def test_only_the_first_stages_segmentation_is_changed() -> None:
    context = Context(1, patch_geometry((20, 20)), (1,))
    label = torch.zeros(2, 20, 20, dtype=torch.int16)
    label[:, 3:6, 3:6] = 1
    transform = CascadeRemoval(probability=1.0)
    [params] = draw_all(transform, [0], context)
    assert params is not None
    _, planes = transform.apply(torch.zeros(1, 20, 20), label.clone(), params)
    assert torch.equal(planes[0], label[0])
    assert not planes[1].any()
