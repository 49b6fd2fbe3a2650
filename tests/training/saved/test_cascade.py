"""The two stages of a cascade, trained and predicted by the same commands as everything else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.blobs import make_blobs, write_blobs
from umseg.common.errors import UserError
from umseg.dataset.io.images import read_label
from umseg.evaluation import Metrics
from umseg.inference import Predictor
from umseg.inference.model import LoadedModel
from umseg.models.card import load_card
from umseg.models.unet import UNet
from umseg.planning import Overrides
from umseg.planning.plan import Plan
from umseg.preprocess import CaseStore
from umseg.preprocess.cascade_input import fit_label_map
from umseg.training import TrainingConfig, train
from umseg.training.data.batches import PHASES, BatchFactory, Phase
from umseg.training.data.splits import Splits
from umseg.training.saved.checkpoint import load_tensors
from umseg.workflows.plan import plan_dataset
from umseg.workflows.validate import validate_fold
from umseg.workspace import Workspace

LOW = TrainingConfig(configuration="3d_lowres", model="nnunet", epochs=2, iterations=8, optimizer="adamw", lr=3e-3)
HIGH = LOW.model_copy(update={"configuration": "3d_cascade_fullres"})


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    root = tmp_path_factory.mktemp("cascade")
    folder = write_blobs(root / "Dataset907_Cascade", num_cases=5)
    return plan_dataset(folder, root / "w", overrides=Overrides(patch_size=(8, 8, 8), batch_size=2), quiet=True)[0]


@pytest.fixture(scope="module")
def first_stage(workspace: Workspace) -> Path:
    for fold in range(5):
        trained = train(workspace.folder, LOW.model_copy(update={"fold": fold}), device="cpu", quiet=True)
        validate_fold(workspace, trained, device="cpu", quiet=True)
    return trained.parent


@pytest.fixture(scope="module")
def second_stage(workspace: Workspace, first_stage: Path) -> Path:
    return train(workspace.folder, HIGH, device="cpu", workers=1, quiet=True)


def test_the_first_stage_comes_first(workspace: Workspace) -> None:
    config = HIGH.model_copy(update={"model": "umamba_bot"})
    with pytest.raises(UserError, match="needs the first one's segmentation") as caught:
        train(workspace.folder, config, device="cpu", quiet=True)
    assert caught.value.found == "no validation results of fold 0, 1, 2, 3, 4"
    assert "--config 3d_lowres --fold 0,1,2,3,4" in str(caught.value.remedy)


def test_a_first_stage_is_for_cascades_only(workspace: Workspace, first_stage: Path) -> None:
    config = LOW.model_copy(update={"first_stage": str(first_stage)})
    with pytest.raises(UserError, match="--first-stage") as caught:
        train(workspace.folder, config, device="cpu", quiet=True)
    assert caught.value.expected == "3d_cascade_fullres"


def test_each_case_has_the_segmentation_of_the_fold_that_did_not_train_on_it(
    workspace: Workspace, first_stage: Path, second_stage: Path
) -> None:
    store = CaseStore(workspace.folder / "preprocessed" / "3d_cascade_fullres" / first_stage.name)
    plan, images = workspace.load(Plan), CaseStore(workspace.preprocessed("3d_fullres"))
    seen = 0
    for fold, split in enumerate(workspace.load(Splits).folds):
        for case_id in split.validation:
            label = read_label(first_stage / f"fold_{fold}" / "validation" / f"{case_id}.nii.gz").array
            properties = images.record(case_id).properties
            fitted = fit_label_map(label, properties, plan, plan.configuration("3d_cascade_fullres"))
            np.testing.assert_array_equal(store.open(case_id).data[:][0], fitted)
            seen += int(fitted.max())
    assert seen, "the first stage found nothing: the test shows nothing"


def test_the_network_sees_a_channel_per_class(workspace: Workspace, first_stage: Path, second_stage: Path) -> None:
    stage = workspace.folder / "preprocessed" / "3d_cascade_fullres" / first_stage.name
    configuration = workspace.load(Plan).configuration("3d_cascade_fullres")
    cases: dict[Phase, tuple[str, ...]] = {"train": ("blob_0", "blob_1"), "validation": ("blob_2",)}
    factory = BatchFactory(
        workspace.preprocessed("3d_fullres"), configuration, cases, 0, first_stage=stage, first_stage_values=(1, 2)
    )
    shown = torch.zeros(2)
    for phase in PHASES:
        for index in range(6):
            batch = factory.finish(factory.prepare(0, phase, index))
            assert batch.data.shape == (2, 3, 8, 8, 8)
            assert set(batch.data[:, 1:].unique().tolist()) <= {0.0, 1.0}
            assert batch.data[:, 1:].sum(1).max() <= 1
            assert batch.targets[0].shape == (2, 8, 8, 8)
            shown += batch.data[:, 1:].sum((0, 2, 3, 4))
    assert (shown > 0).any()
    weights, _ = load_tensors(second_stage / "weights_final.safetensors", "")
    assert 3 in {w.shape[1] for w in weights.values() if w.dim() == 5}, "a convolution takes image and two classes"
    assert load_card(second_stage.parent).build_network()(batch.data).shape == (2, 3, 8, 8, 8)


def test_prediction_runs_both_stages(workspace: Workspace, first_stage: Path, second_stage: Path) -> None:
    metrics = validate_fold(workspace, second_stage, device="cpu", quiet=True)
    assert isinstance(metrics, Metrics)
    assert len(metrics.cases) == 1
    [case_id] = workspace.load(Splits).folds[0].validation
    written = read_label(second_stage / "validation" / f"{case_id}.nii.gz").array
    image, _ = make_blobs(int(case_id.removeprefix("blob_")))
    predictor = Predictor(second_stage.parent, "cpu")
    np.testing.assert_array_equal(predictor.predict(image[None], (2.0, 1.0, 1.5)), written)
    assert isinstance(predictor.model, LoadedModel)
    assert predictor.model.first_stage is not None
    before = predictor.predict(image[None], (2.0, 1.0, 1.5))
    with torch.no_grad():
        for network in predictor.model.first_stage.networks:
            assert isinstance(network, UNet)
            bias = network.heads[-1].bias
            assert isinstance(bias, torch.Tensor)
            bias.copy_(torch.tensor([-100.0, 100.0, 0.0]))
    assert not np.array_equal(predictor.predict(image[None], (2.0, 1.0, 1.5)), before), "the first stage matters"


def test_segmentations_that_are_there_stay_and_new_ones_are_taken(
    workspace: Workspace, first_stage: Path, second_stage: Path
) -> None:
    folder = workspace.folder / "preprocessed" / "3d_cascade_fullres" / first_stage.name
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.json")}
    [case_id] = workspace.load(Splits).folds[1].validation
    file = first_stage / "fold_1" / "validation" / f"{case_id}.nii.gz"
    other = first_stage / "fold_2" / "validation" / f"{workspace.load(Splits).folds[2].validation[0]}.nii.gz"
    file.write_bytes(other.read_bytes())
    longer = HIGH.model_copy(update={"epochs": 3})
    train(workspace.folder, longer, device="cpu", quiet=True)
    after = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.json")}
    assert {name for name in before if before[name] != after[name]} == {f"{case_id}.json"}
