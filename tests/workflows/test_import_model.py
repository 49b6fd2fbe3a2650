"""A model of another system becomes one of ours: same weights, same output; and nothing in it is run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import GOLDEN
from tests.models.plans import make_configuration
from tests.planning.test_foreign import as_foreign
from umseg.common.errors import UserError
from umseg.inference import Predictor
from umseg.inference.model import LoadedModel
from umseg.models.card import load_card
from umseg.workflows.import_model import import_nnunet

STATISTICS = {"mean": 1, "median": 1, "std": 1, "min": 0, "max": 2, "percentile_00_5": 0, "percentile_99_5": 2}


def write_checkpoint(path: Path, weights: Any, **fields: Any) -> None:
    content = {
        "network_weights": weights,
        "optimizer_state": {"state": {}},
        "_best_ema": np.float32(0.5),
        "logging": {"mean_fg_dice": [np.float64(0.1)], "lrs": [0.01]},
        "init_args": {"configuration": "3d_fullres", "fold": 0},
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 1, 2),
        **fields,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)


@pytest.fixture
def recorded(golden: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(golden / "plain3d.pt", weights_only=True)
    return content


def write_results(folder: Path) -> Path:
    """A result folder as nnU-Net leaves it, with the recorded network in two folds."""
    recorded = torch.load(GOLDEN / "plain3d.pt", weights_only=True)
    config = recorded["config"]
    configuration = make_configuration(config["patch"], config["feats"], config["strides"], config["kernels"])
    plan = {
        "dataset_name": "Dataset900_Import",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [1, 1, 1],
        "original_median_shape_after_transp": config["patch"],
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "foreground_intensity_properties_per_channel": {"0": STATISTICS},
        "configurations": {"3d_fullres": as_foreign(configuration, first_form=False)},
    }
    labels = {"background": 0, "liver": 1, "tumour": 2}
    dataset = {"channel_names": {"0": "MRI"}, "labels": labels, "numTraining": 5, "file_ending": ".nii.gz"}
    for fold in (0, 3):
        write_checkpoint(folder / f"fold_{fold}" / "checkpoint_final.pth", recorded["state_dict"])
    (folder / "plans.json").write_text(json.dumps(plan))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    return folder


def describe(source: Path, **fields: Any) -> None:
    path = source / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_results(tmp_path / "nnUNetTrainer__nnUNetPlans__3d_fullres")


def test_imported_network_gives_the_recorded_output(source: Path, tmp_path: Path, recorded: dict[str, Any]) -> None:
    made = import_nnunet(source, tmp_path / "made")
    card = load_card(made)
    assert (card.model, card.configuration_name, card.mirror_axes) == ("nnunet", "3d_fullres", (0, 1, 2))
    predictor = Predictor(made, device="cpu", precision="fp32")
    assert isinstance(predictor.model, LoadedModel)
    assert len(predictor.model.networks) == 2
    with torch.no_grad():
        logits = predictor.model.networks[1](recorded["x"].float())
    torch.testing.assert_close(logits, recorded["out_f32"][0], rtol=0, atol=1e-4)
    label_map = predictor.predict(recorded["x"][0].numpy().astype(np.float32), (1.0, 1.0, 1.0))
    assert label_map.shape == tuple(recorded["config"]["patch"])


def test_outputs_of_a_region_model_are_its_regions_in_their_order(
    source: Path, tmp_path: Path, recorded: dict[str, Any]
) -> None:
    """nnU-Net's outputs are the regions in the order of dataset.json, whatever their values."""
    regions = {"core": [2, 3], "background": 0, "whole": [1, 2, 3], "rim": 3}
    describe(source, labels=regions, regions_class_order=[2, 1, 3])
    predictor = Predictor(import_nnunet(source, tmp_path / "made"), device="cpu", precision="fp32")
    assert list(predictor.card.dataset.regions) == ["core", "whole", "rim"]
    label_map = predictor.predict(recorded["x"][0].numpy().astype(np.float32), (1.0, 1.0, 1.0))
    assert isinstance(predictor.model, LoadedModel)
    # The image is normalised first, which the recorded output is not: so from the network itself.
    with torch.no_grad():
        image = recorded["x"].float()
        normalised = (image - image.mean()) / image.std(unbiased=False)
        core, whole, rim = predictor.model.networks[0](normalised)[0].numpy() > 0
    expected = np.where(rim, 3, np.where(whole, 1, np.where(core, 2, 0)))
    assert (label_map == expected).mean() > 0.999
    assert len(np.unique(label_map)) > 1


def test_an_ignore_label_has_no_output(source: Path, tmp_path: Path) -> None:
    describe(source, labels={"background": 0, "liver": 1, "tumour": 2, "ignore": 3})
    card = load_card(import_nnunet(source, tmp_path / "made"))
    assert (card.dataset.num_classes, card.dataset.ignore_label) == (3, 3)


def test_best_weights_come_along(source: Path, tmp_path: Path, recorded: dict[str, Any]) -> None:
    write_checkpoint(source / "fold_0" / "checkpoint_best.pth", recorded["state_dict"])
    made = import_nnunet(source, tmp_path / "made")
    assert (made / "fold_0" / "weights_best.safetensors").exists()
    assert not (made / "fold_3" / "weights_best.safetensors").exists()


class Trap:
    """What an attacker puts in a checkpoint."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


def test_code_in_a_checkpoint_is_refused_and_not_run(source: Path, tmp_path: Path, recorded: dict[str, Any]) -> None:
    mark = tmp_path / "was_run"
    write_checkpoint(source / "fold_3" / "checkpoint_final.pth", recorded["state_dict"], trap=Trap(mark))
    with pytest.raises(UserError, match="could run code"):
        import_nnunet(source, tmp_path / "made")
    assert not mark.exists()
    assert not (tmp_path / "made").exists()


def damage(source: Path) -> None:
    path = source / "fold_0" / "checkpoint_final.pth"
    path.write_bytes(path.read_bytes()[:2000])


def swap(source: Path) -> None:
    write_checkpoint(source / "fold_3" / "checkpoint_final.pth", {"conv.weight": torch.zeros(1)})


def cut(source: Path) -> None:
    path = source / "fold_3" / "checkpoint_final.pth"
    weights = torch.load(path, weights_only=False)["network_weights"]
    weights = {name: value[..., :1] if name.endswith("weight") else value for name, value in weights.items()}
    write_checkpoint(path, weights)


def strip(source: Path) -> None:
    torch.save({"weights": {}}, source / "fold_0" / "checkpoint_final.pth")


def add_region(source: Path) -> None:
    """One more output than the checkpoints have."""
    regions = {"background": 0, "whole": [1, 2, 3, 4], "core": [2, 3], "rim": 3, "other": [1, 4]}
    describe(source, labels=regions, regions_class_order=[1, 2, 3, 4])


def empty(source: Path) -> None:
    for path in source.glob("fold_*/*.pth"):
        path.unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (damage, "damaged"),
        (swap, "nnunet"),
        (cut, "do not belong"),
        (strip, "not a checkpoint of nnU-Net v2"),
        (empty, "no trained fold"),
        (add_region, "do not belong"),
    ],
)
def test_what_cannot_be_imported_is_explained_and_leaves_nothing(
    source: Path, tmp_path: Path, spoil: Any, message: str
) -> None:
    spoil(source)
    with pytest.raises(UserError, match=message) as raised:
        import_nnunet(source, tmp_path / "made")
    assert raised.value.file is not None
    assert raised.value.remedy
    assert not (tmp_path / "made").exists()


def test_nothing_is_replaced(source: Path, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    with pytest.raises(UserError, match="destination already exists"):
        import_nnunet(source, tmp_path / "made")
