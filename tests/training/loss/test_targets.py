from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from umseg.dataset import DatasetDescription
from umseg.training.loss.targets import Targets


def description(**fields: Any) -> DatasetDescription:
    common: dict[str, Any] = {"channel_names": {"0": "MRI"}, "numTraining": 5, "file_ending": ".nii.gz"}
    return DatasetDescription(**common, **fields)


def test_plain_labels() -> None:
    targets = Targets.of(description(labels={"background": 0, "liver": 2, "spleen": 1}))
    assert targets == Targets(("spleen", "liver"))
    assert targets.masks(torch.tensor([[0, 2]])).tolist() == [[[1, 0], [0, 0], [0, 1]]]
    assert targets.valid(torch.tensor([[0]])) is None


def test_regions_and_the_ignore_label() -> None:
    targets = Targets.of(
        description(
            labels={"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3, "ignore": 4},
            regions_class_order=[1, 2, 3],
        )
    )
    assert targets.regions == ((1, 2, 3), (2, 3), (3,))
    label = torch.tensor([[0, 1, 2, 3, 4]])
    assert targets.masks(label).tolist() == [[[0, 1, 1, 1, 0], [0, 0, 1, 1, 0], [0, 0, 0, 1, 0]]]
    valid = targets.valid(label)
    assert valid is not None
    assert valid.tolist() == [[True, True, True, True, False]]


def test_an_instance_task_has_interior_and_boundary() -> None:
    assert Targets.of(description(task="instance", labels={"background": 0, "cell": 1})).names == (
        "interior",
        "boundary",
    )


@given(seed=st.integers(0, 10_000), regions=st.booleans(), ignore=st.booleans())
@settings(max_examples=30, deadline=None)
def test_counts_equal_a_count_voxel_by_voxel(seed: int, regions: bool, ignore: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    members = ((1, 2), (2,)) if regions else None
    targets = Targets(("a", "b"), members, 3 if ignore else None)
    logits = torch.randn((2, 2 if regions else 3, 4, 3), generator=generator)
    label = torch.randint(0, 4 if ignore else 3, (2, 4, 3), generator=generator)
    counts = targets.count(logits, label).numpy()
    known = (label != 3).numpy()
    for index, values in enumerate(members or ((1,), (2,))):
        predicted = (logits[:, index] > 0 if regions else logits.argmax(1) == index + 1).numpy() & known
        wanted = np.isin(label.numpy(), values) & known
        expected = [(predicted & wanted).sum(), (predicted & ~wanted).sum(), (~predicted & wanted).sum()]
        assert counts[index].tolist() == expected


def test_dice_of_counts() -> None:
    dice = Targets(("a", "b")).dice(torch.tensor([[3, 1, 1], [0, 0, 0]]))
    assert dice == {"a": pytest.approx(0.75), "b": None}
