"""Trainings with other transforms than umseg's own pipelines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from batchgenerators.transforms.noise_transforms import GaussianNoiseTransform

from tests.blobs import write_blobs
from umseg.common.errors import UserError
from umseg.training import TrainingConfig, train
from umseg.training.augmentation import Context, Transform
from umseg.workflows.plan import plan_dataset

CONFIG = TrainingConfig(model="nnunet", epochs=1, iterations=2, validation_iterations=1, patch_size=(8, 8, 8))


@dataclass(frozen=True)
class Offset(Transform[float]):
    """Add a number to every sample."""

    name: str = "offset"

    def draw(self, rng: np.random.Generator, context: Context) -> float:
        return float(rng.normal())

    def apply(self, image: torch.Tensor, label: torch.Tensor, params: float) -> tuple[torch.Tensor, torch.Tensor]:
        return image.add_(params), label


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("transforms")
    folder = write_blobs(root / "Dataset905_Transforms", num_cases=5)
    planned, _, _ = plan_dataset(folder, root / "w", configurations=["3d_fullres"], quiet=True)
    return planned.folder


def run(workspace: Path, tag: str, config: TrainingConfig = CONFIG, **options: Any) -> tuple[bytes, str]:
    """The final weights, and the transforms that were recorded."""
    fold = train(workspace, config, device="cpu", tag=tag, quiet=True, **options)
    recorded = TrainingConfig.load(fold / "config.json", "").transforms
    return (fold / "weights_final.safetensors").read_bytes(), recorded


def test_the_pipeline_of_batchgenerators_trains_and_workers_change_nothing(workspace: Path) -> None:
    config = CONFIG.model_copy(update={"transforms": "batchgenerators"})
    weights, recorded = run(workspace, "reference", config)
    assert recorded == "batchgenerators"
    assert run(workspace, "reference-worker", config, workers=1)[0] == weights
    assert run(workspace, "umamba")[0] != weights


def test_objects_are_recorded_by_name_and_workers_change_nothing(workspace: Path) -> None:
    chosen = ["umamba", Offset(), GaussianNoiseTransform()]
    weights, recorded = run(workspace, "objects", transforms=chosen)
    assert recorded == "umamba,offset,GaussianNoiseTransform"
    assert run(workspace, "objects-worker", transforms=chosen, workers=1)[0] == weights
    assert run(workspace, "fewer-objects", transforms=chosen[:2])[0] != weights


def test_a_run_continues_with_objects_of_the_same_names(workspace: Path) -> None:
    longer = CONFIG.model_copy(update={"epochs": 2})
    shorter, _ = run(workspace, "continued", transforms=["umamba", Offset()])
    with pytest.raises(UserError, match="trained with other options") as caught:
        run(workspace, "continued", longer)
    assert caught.value.expected == "transforms = umamba,offset"
    with pytest.raises(UserError, match="Unknown transform 'offset'"):
        run(workspace, "continued", longer.model_copy(update={"transforms": "umamba,offset"}))
    weights, recorded = run(workspace, "continued", longer, transforms=["umamba", Offset()])
    assert weights != shorter
    assert recorded == "umamba,offset"


def test_an_object_that_cannot_travel_is_refused_by_name(workspace: Path) -> None:
    class Local(Offset):
        pass

    with pytest.raises(UserError, match="'offset' cannot be sent to worker processes"):
        run(workspace, "local", transforms=[Local()], workers=1)
    run(workspace, "local", transforms=[Local()])


def test_a_command_line_names_transforms() -> None:
    assert TrainingConfig.from_options({"transforms": "nnunet"}).transforms == "nnunet"
    with pytest.raises(UserError, match="Unknown transform 'nnunett'") as caught:
        TrainingConfig.from_options({"transforms": "nnunett"})
    assert caught.value.remedy == "Did you mean 'nnunet'?"
