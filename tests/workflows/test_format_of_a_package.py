"""From planning to evaluation with images in a format that another package defines."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.blobs import SPACING, make_blobs, write_blobs
from tests.dataset.npz_format import FORMAT
from umseg.dataset.io.images import read_label
from umseg.dataset.io.registry import FORMATS
from umseg.evaluation import evaluate_folder
from umseg.inference import Predictor
from umseg.models import ModelOptions
from umseg.training import TrainingConfig, train
from umseg.workflows.plan import plan_dataset


@pytest.mark.parametrize("own_labels", [True, False])
def test_plan_train_predict_evaluate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_labels: bool) -> None:
    monkeypatch.setitem(FORMATS._entries, "npz", FORMAT)
    if not own_labels:
        monkeypatch.setattr(type(FORMAT), "label_ending", lambda self, ending: ".nii.gz")
    dataset = write_blobs(tmp_path / "Dataset901_Npz", num_cases=3)
    for number in range(3):
        image, label = make_blobs(number)
        (dataset / "imagesTr" / f"blob_{number}_0000.nii.gz").unlink()
        np.savez(dataset / "imagesTr" / f"blob_{number}_0000.npz", voxels=image, spacing=SPACING[::-1])
        if own_labels:
            (dataset / "labelsTr" / f"blob_{number}.nii.gz").unlink()
            np.savez(dataset / "labelsTr" / f"blob_{number}.npz", voxels=label, spacing=SPACING[::-1])
    content = json.loads((dataset / "dataset.json").read_text())
    (dataset / "dataset.json").write_text(json.dumps({**content, "file_ending": ".npz"}))

    workspace, *_ = plan_dataset(dataset, tmp_path / "w", configurations=["3d_fullres"], quiet=True)
    options = ModelOptions(ssm=False)
    config = TrainingConfig(model="umamba_bot", options=options, epochs=1, iterations=1, validation_iterations=1)
    fold = train(workspace.folder, config, device="cpu", quiet=True)
    written = Predictor(fold.parent, "cpu").predict_files(dataset / "imagesTr", tmp_path / "out", quiet=True)
    ending = ".npz" if own_labels else ".nii.gz"
    assert [path.name for path in written] == [f"blob_{number}{ending}" for number in range(3)]
    assert read_label(written[0]).spacing == SPACING
    metrics = evaluate_folder(tmp_path / "out", dataset / "labelsTr", workers=0)
    assert [case.case for case in metrics.cases] == ["blob_0", "blob_1", "blob_2"]
