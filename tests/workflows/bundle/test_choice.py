"""A bundle of what `umseg best` chose predicts as best.json does, and can be imported and exported again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.claimants import claimed_elsewhere
from tests.inference.bundle.hub_server import TOKEN, UPLOADS, Hub
from tests.inference.bundle.zips import members_of
from tests.inference.models import make_image, write_model
from tests.workflows.bundle.models import write_cascade, write_scores, write_trained
from umseg.cli.app import app
from umseg.common.errors import UserError
from umseg.inference import Predictor
from umseg.inference.best import Best, Candidate, Member
from umseg.inference.bundle.hub import HubModel
from umseg.inference.bundle.manifest import Manifest
from umseg.inference.bundle.unpack import open_bundle
from umseg.inference.postprocessing.classes import ClassCleaning, ClassRule
from umseg.workflows.best.pairs import joint_hash
from umseg.workflows.bundle.export import export_bundle
from umseg.workflows.bundle.imported import import_bundle
from umseg.workflows.bundle.model_card import model_card
from umseg.workflows.bundle.push import push
from umseg.workflows.bundle.scores import pooled
from umseg.workspace import ModelFolder, Workspace

SPACING = (1.0, 1.0, 1.0)
CLEANING = ClassCleaning(classes={"organ": ClassRule(fill_holes=True), "tumour": ClassRule(largest=True)})


def write_best(workspace: Path, members: dict[str, tuple[str, ...]]) -> Path:
    best = Best(
        dataset_name="Dataset900_Small",
        metric="DSC",
        cases=4,
        candidates=(Candidate(models=tuple(members), score=0.5),),
        members=tuple(Member(model=name, folds=folds) for name, folds in members.items()),
        score=0.5,
        score_after=0.6,
        cleaning=CLEANING,
    )
    best.save(Workspace(workspace).best_file)
    return Workspace(workspace).best_file


@pytest.fixture
def choice(tmp_path: Path) -> Path:
    """The best.json of a workspace with two models of two folds, of which one fold was left out."""
    workspace = tmp_path / "workspace"
    models = [write_trained(workspace / "models" / "nnunet__small")]
    models.append(write_model(workspace / "models" / "Other (v2)__small", folds=("0", "2")))
    together = Workspace(workspace).ensemble([ModelFolder(folder) for folder in models])
    together.fold("0").path.mkdir(parents=True)
    weights = [ModelFolder(folder).fold("0").weights("final") for folder in models]
    write_scores(together.path, "0", {"anna": (0.95, 0.55)}, of=joint_hash(weights))
    return write_best(workspace, {"nnunet__small": ("0", "1"), "Other (v2)__small": ("0",)})


def manifest_of(file: Path) -> Manifest:
    with open_bundle(file) as bundle:
        return bundle.manifest


def test_it_holds_every_model_that_is_named_and_the_scores_of_all_together(choice: Path, tmp_path: Path) -> None:
    export_bundle(choice, tmp_path / "liver.umseg")
    assert list(members_of(tmp_path / "liver.umseg")) == [
        "bundle.json",
        "best.json",
        "models/model_1/model.json",
        "models/model_1/fold_0/validation/metrics.json",
        "models/model_1/fold_1/validation/metrics.json",
        "models/model_2/model.json",
        "fold_0/validation/metrics.json",
        "models/model_1/fold_0/weights_final.safetensors",
        "models/model_1/fold_1/weights_final.safetensors",
        "models/model_2/fold_0/weights_final.safetensors",
    ]
    members = manifest_of(tmp_path / "liver.umseg").members
    assert members is not None
    named = [(member.name, [fold.fold for fold in member.folds]) for member in members]
    assert named == [("nnunet__small", ["0", "1"]), ("Other (v2)__small", ["0"])]


def test_it_predicts_as_its_best_json(choice: Path, tmp_path: Path, cache: Path) -> None:
    export_bundle(choice, tmp_path / "liver.umseg")
    imported = import_bundle(tmp_path / "liver.umseg", tmp_path / "imported").folder
    image = make_image((13, 10, 21))[None]
    expected = Predictor(choice, "cpu", precision="fp32").predict(image, SPACING)
    for model in (tmp_path / "liver.umseg", imported, imported / "best.json", choice.parent):
        np.testing.assert_array_equal(Predictor(model, "cpu", precision="fp32").predict(image, SPACING), expected)
    plain = Predictor(tmp_path / "liver.umseg", "cpu", precision="fp32", postprocessing=False)
    assert (plain.predict(image, SPACING) != expected).any()


def test_one_model_keeps_its_post_processing(choice: Path, tmp_path: Path, cache: Path) -> None:
    write_best(choice.parent, {"nnunet__small": ("1",)})
    export_bundle(choice, tmp_path / "liver.umseg")
    image = make_image((13, 10, 21))[None]
    found, expected = (
        Predictor(model, "cpu", precision="fp32").predict(image, SPACING)
        for model in (tmp_path / "liver.umseg", choice)
    )
    np.testing.assert_array_equal(found, expected)
    assert [path for path in members_of(tmp_path / "liver.umseg") if path.startswith("models/model_1/fold_0")] == []


def test_a_cascade_among_the_models_brings_its_first_stage(tmp_path: Path, cache: Path) -> None:
    write_cascade(tmp_path / "workspace" / "models")
    choice = write_best(tmp_path / "workspace", {"nnunet__high": ("0",), "nnunet__low": ("1",)})
    export_bundle(choice, tmp_path / "cascade.umseg")
    image = make_image()[None]
    found, expected = (
        Predictor(model, "cpu", precision="fp32").predict(image, SPACING)
        for model in (tmp_path / "cascade.umseg", choice)
    )
    np.testing.assert_array_equal(found, expected)


def test_what_was_imported_is_exported_as_the_same_bundle(choice: Path, tmp_path: Path) -> None:
    export_bundle(choice, tmp_path / "liver.umseg")
    folder = import_bundle(tmp_path / "liver.umseg", tmp_path / "imported").folder
    export_bundle(folder, tmp_path / "again" / "liver.umseg")
    assert (tmp_path / "again" / "liver.umseg").read_bytes() == (tmp_path / "liver.umseg").read_bytes()
    with pytest.raises(UserError, match="there already"):
        import_bundle(tmp_path / "liver.umseg", folder)
    import_bundle(tmp_path / "liver.umseg", folder, overwrite=True)


def test_scores_of_other_weights_and_names_of_cases_are_left_out(choice: Path, tmp_path: Path) -> None:
    export_bundle(choice, tmp_path / "numbered.umseg", hide_cases=True)
    assert b"anna" not in b"".join(members_of(tmp_path / "numbered.umseg").values())
    (choice.parent / "models" / "Other (v2)__small" / "fold_0").rename(tmp_path / "aside")
    (choice.parent / "models" / "Other (v2)__small" / "fold_2").rename(
        choice.parent / "models" / "Other (v2)__small" / "fold_0"
    )
    export_bundle(choice, tmp_path / "other.umseg")
    assert "fold_0/validation/metrics.json" not in members_of(tmp_path / "other.umseg")


def test_the_page_on_the_hub_names_all_models(choice: Path, tmp_path: Path) -> None:
    made = export_bundle(choice, tmp_path / "liver.umseg")
    text = model_card(made.manifest, made.contents.card, pooled(made.contents.metrics), "clinic/liver")
    assert "2 models trained with umseg predict together; their probabilities are averaged." in text
    assert "* Other (v2)\\_\\_small: 1 network" in text
    assert "| nnunet\\_\\_small | 1 | 3 | 2 | 50 | 20 |" in text
    # The scores of both together, not those of each.
    assert "| organ | 1 | 0.950 ± 0.000 |" in text


@UPLOADS
def test_it_can_be_published(
    choice: Path, hub: Hub, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    push(choice, HubModel("clinic/liver"))
    assert b"2 models trained with umseg" in hub.repositories["clinic/liver"].files["README.md"]
    image = make_image()[None]
    found, expected = (
        Predictor(model, "cpu", precision="fp32").predict(image, SPACING) for model in ("hf://clinic/liver", choice)
    )
    np.testing.assert_array_equal(found, expected)


def test_models_of_other_classes_are_refused(choice: Path, tmp_path: Path) -> None:
    write_model(choice.parent / "models" / "Other (v2)__small", labels={"background": 0, "liver": 1, "tumour": 2})
    with pytest.raises(UserError, match="trained for different data"):
        export_bundle(choice, tmp_path / "liver.umseg")
    assert not list(tmp_path.glob("*.umseg"))


def test_a_fold_that_is_being_trained_is_refused(choice: Path, tmp_path: Path) -> None:
    fold = choice.parent / "models" / "Other (v2)__small" / "fold_0"
    with claimed_elsewhere(fold, "trains this fold"), pytest.raises(UserError, match="it trains this fold"):
        export_bundle(choice, tmp_path / "liver.umseg")


def test_the_commands(choice: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exported = CliRunner().invoke(app, ["export", str(choice), "liver.umseg"])
    assert exported.exit_code == 0, exported.output
    assert exported.output.startswith("Wrote liver.umseg: 2 models with 3 folds of Dataset900_Small, 2 classes, ")
    imported = CliRunner().invoke(app, ["import", "liver.umseg"])
    assert imported.exit_code == 0, imported.output
    assert (tmp_path / "umseg-models" / "liver" / "best.json").is_file()


def test_networks_are_converted_one_model_at_a_time(choice: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    refused = CliRunner().invoke(app, ["export", str(choice), str(tmp_path / "onnx"), "--onnx"])
    assert refused.exit_code == 2
    assert "one model at a time" in refused.output
