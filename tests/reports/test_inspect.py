from __future__ import annotations

from typing import Any

import matplotlib.image
import numpy as np
import pytest
import torch

from tests.blobs import write_blobs
from umseg.dataset import DatasetDescription
from umseg.dataset.dataset import Dataset
from umseg.planning.plan import Plan
from umseg.reports import inspect as module
from umseg.reports.inspect import inspect_training, label_names
from umseg.reports.pictures import Patch
from umseg.training.data.batches import BatchFactory
from umseg.workflows.plan import plan_dataset
from umseg.workspace import Workspace


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    root = tmp_path_factory.mktemp("inspect")
    folder = write_blobs(root / "Dataset904_Inspect", num_cases=3)
    return plan_dataset(folder, root / "w", quiet=True)[0]


@pytest.mark.parametrize("name", ["3d_fullres", "2d"])
def test_the_patches_are_those_that_are_trained(
    workspace: Workspace, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Patch] = []
    monkeypatch.setattr(module, "draw_patches", lambda path, patches, labels: drawn.extend(patches))
    inspect_training(workspace, name, patches=3, seed=5)
    configuration = workspace.load(Plan).configuration(name)
    cases = tuple(case.id for case in workspace.load(Dataset).cases)
    factory = BatchFactory(workspace.preprocessed(name), configuration, {"train": cases}, seed=5)
    batches = [factory.finish(factory.prepare(0, "train", index)) for index in range(2)]
    images, labels = (
        torch.cat(parts)[:3].numpy() for parts in zip(*((b.data, b.targets[0]) for b in batches), strict=True)
    )
    assert configuration.batch_size == 2, "the third patch is of a second batch"
    for patch, image, label in zip(drawn, images, labels, strict=True):
        slices = range(len(label)) if label.ndim == 3 else [...]
        assert any(np.array_equal(patch.after[0][..., 0], image[0][i]) for i in slices)
        assert patch.before[0].shape == patch.after[0].shape
        assert patch.after[1].max() == label.max()


def test_the_picture_shows_the_labels_in_colour(workspace: Workspace) -> None:
    path = inspect_training(workspace, patches=1)
    assert path == workspace.folder / "inspect" / "3d_fullres.png"
    picture = matplotlib.image.imread(path)[..., :3]
    coloured = np.ptp(picture, axis=-1) > 0.2
    assert 0.001 < coloured.mean() < 0.5


def test_what_the_values_of_a_label_map_mean() -> None:
    common: dict[str, Any] = {"channel_names": {"0": "MRI"}, "numTraining": 5, "file_ending": ".nii.gz"}
    plain = DatasetDescription(labels={"background": 0, "a": 1, "ignore": 2}, **common)
    assert label_names(plain) == {"a": 1, "ignore": 2}
    regions = DatasetDescription(
        labels={"background": 0, "whole": [1, 2], "core": 2}, regions_class_order=[1, 2], **common
    )
    assert label_names(regions) == {"label 1": 1, "label 2": 2}
