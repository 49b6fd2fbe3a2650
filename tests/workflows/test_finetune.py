"""From one data set to another: ``umseg plan --like`` and ``umseg train --init-from``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.blobs import write_blobs
from umseg.common.errors import UserError
from umseg.planning import Overrides
from umseg.training import TrainingConfig, train
from umseg.training.saved.checkpoint import load_tensors
from umseg.workflows.plan import plan_dataset
from umseg.workspace import FINAL

CONFIG = TrainingConfig(model="nnunet", epochs=1, iterations=1, validation_iterations=1)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder."""
    root = tmp_path_factory.mktemp("source")
    folder = write_blobs(root / "Dataset905_Source", num_cases=5)
    planned, _, _ = plan_dataset(
        folder, root / "w", overrides=Overrides.parse(None, "16,16,16", 3), configurations=["3d_fullres"], quiet=True
    )
    return train(planned.folder, CONFIG, device="cpu", quiet=True).parent


def test_plan_and_weights_are_taken_over(source: Path, tmp_path: Path) -> None:
    folder = write_blobs(tmp_path / "Dataset906_Target", num_cases=4)
    planned, _, plan = plan_dataset(folder, tmp_path / "w", like=source, configurations=["3d_fullres"], quiet=True)
    model = json.loads((source / "model.json").read_text())
    configuration = plan.configuration("3d_fullres")
    assert configuration.patch_size == (16, 16, 16)
    assert configuration.batch_size == 3
    assert plan.dataset_name == "Dataset906_Target"
    assert json.loads(plan.model_dump_json())["configurations"] == model["plan"]["configurations"]
    # A learning rate of nearly nothing: what is trained are the other model's weights.
    config = CONFIG.model_copy(update={"init_from": str(source), "lr": 1e-12})
    fold = train(planned.folder, config, device="cpu", quiet=True)
    old, _ = load_tensors(source / "fold_0" / FINAL, "")
    new, _ = load_tensors(fold / FINAL, "")
    assert all(torch.allclose(tensor, old[name], atol=1e-6) for name, tensor in new.items())


def test_a_plan_that_is_taken_over_leaves_no_choice(source: Path, tmp_path: Path) -> None:
    folder = write_blobs(tmp_path / "Dataset906_Target", num_cases=2)
    with pytest.raises(UserError, match="reuses a plan without changes"):
        plan_dataset(folder, tmp_path / "w", like=source, memory_gb=4, quiet=True)


def test_other_channels_do_not_fit(source: Path, tmp_path: Path) -> None:
    card = json.loads((source / "model.json").read_text())
    card["dataset"]["channel_names"] = {"0": "MRI", "1": "CT"}
    statistics = card["plan"]["foreground_intensity_properties_per_channel"]
    statistics["1"] = statistics["0"]
    for configuration in card["plan"]["configurations"].values():
        configuration["normalization_schemes"] = ["ZScoreNormalization"] * 2
        configuration["use_mask_for_norm"] = [False] * 2
    other = tmp_path / "other"
    other.mkdir()
    (other / "model.json").write_text(json.dumps(card))
    folder = write_blobs(tmp_path / "Dataset906_Target", num_cases=2)
    with pytest.raises(UserError, match="different number of image channels") as caught:
        plan_dataset(folder, tmp_path / "w", like=other, quiet=True)
    assert caught.value.expected == "2 channels, as the other model has"
