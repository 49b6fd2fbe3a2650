"""A bundle holds what prediction and readers need, is the same for the same model, and says whose scores it shows."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.claimants import claimed_elsewhere
from tests.inference.bundle.zips import members_of, write_bundle
from tests.inference.models import make_image, write_model
from tests.workflows.bundle.models import write_cascade, write_scores, write_trained
from umseg.common.errors import UserError
from umseg.common.processes.claims import claim
from umseg.evaluation import load_metrics
from umseg.inference import Predictor
from umseg.inference.bundle.cache import unpacked
from umseg.inference.bundle.manifest import BundledFile, Manifest
from umseg.inference.bundle.unpack import open_bundle
from umseg.models.card import load_card
from umseg.training.saved.tensor_file import weights_hash
from umseg.workflows.bundle import export as module
from umseg.workflows.bundle.export import Terms, export_bundle
from umseg.workflows.bundle.imported import import_bundle

TERMS = Terms(licence="CC-BY-4.0", intended_use="Research on livers.", notes="Seed 7.")
SPACING = (1.0, 1.0, 1.0)


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    return write_trained(tmp_path / "nnunet__small")


def manifest_of(file: Path) -> Manifest:
    with open_bundle(file) as bundle:
        return bundle.manifest


def test_a_bundle_holds_what_is_needed_and_nothing_else(trained: Path, tmp_path: Path) -> None:
    export_bundle(trained, tmp_path / "liver.umseg", terms=TERMS)
    with zipfile.ZipFile(tmp_path / "liver.umseg") as archive:
        infos = archive.infolist()
    assert [info.filename for info in infos] == [
        "bundle.json",
        "model.json",
        "fold_0/validation/metrics.json",
        "fold_1/validation/metrics.json",
        "fold_0/weights_final.safetensors",
        "fold_1/weights_final.safetensors",
    ]
    stored = {info.filename for info in infos if info.compress_type == zipfile.ZIP_STORED}
    assert stored == {info.filename for info in infos if info.filename.endswith(".safetensors")}
    content = members_of(tmp_path / "liver.umseg")
    assert content["fold_1/weights_final.safetensors"] == (trained / "fold_1/weights_final.safetensors").read_bytes()
    assert json.loads(content["model.json"]) == json.loads((trained / "model.json").read_text())


def test_the_manifest_tells_what_the_model_is(trained: Path, tmp_path: Path) -> None:
    manifest = export_bundle(trained, tmp_path / "liver.umseg", terms=TERMS).manifest
    assert manifest == manifest_of(tmp_path / "liver.umseg")
    assert (manifest.name, manifest.licence) == ("liver", "CC-BY-4.0")
    assert (manifest.intended_use, manifest.notes) == ("Research on livers.", "Seed 7.")
    assert [(label.name, label.value) for label in manifest.labels] == [("organ", 1), ("tumour", 2)]
    assert (manifest.training.dataset, manifest.training.cases) == ("Dataset900_Small", 4)
    assert [fold.model_dump() for fold in manifest.training.folds] == [
        {"fold": fold, "training_cases": 3, "validation_cases": 2, "epochs": 50, "iterations": 20} for fold in "01"
    ]


def test_equal_models_give_equal_bundles(trained: Path, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        export_bundle(trained, tmp_path / folder / "liver.umseg", terms=TERMS)
    assert (tmp_path / "a" / "liver.umseg").read_bytes() == (tmp_path / "b" / "liver.umseg").read_bytes()


def test_folds_can_be_chosen(trained: Path, tmp_path: Path) -> None:
    manifest = export_bundle(trained, tmp_path / "one.umseg", folds=["1"]).manifest
    assert {file.path.split("/")[0] for file in manifest.files} == {"model.json", "fold_1"}
    with pytest.raises(UserError, match="a fold has no trained weights"):
        export_bundle(trained, tmp_path / "other.umseg", folds=["2"])
    assert not (tmp_path / "other.umseg").exists()


def test_best_weights_are_the_final_ones_of_their_bundle_without_others_scores(
    trained: Path, tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = export_bundle(trained, tmp_path / "best.umseg", weights="best").manifest
    assert manifest.weights == "best"
    assert not [file.path for file in manifest.files if file.path.endswith("metrics.json")]
    assert caplog.text.count("are left out: they were measured with other weights") == 2
    expected = Predictor(trained, "cpu", precision="fp32", weights="best").predict(make_image()[None], SPACING)
    found = Predictor(tmp_path / "best.umseg", "cpu", precision="fp32").predict(make_image()[None], SPACING)
    np.testing.assert_array_equal(found, expected)


def test_scores_of_earlier_weights_are_left_out(tmp_path: Path) -> None:
    models = write_model(tmp_path / "nnunet__small")
    write_scores(models, "0", {"anna": (0.9, 0.5)}, of="0" * 64)
    manifest = export_bundle(models, tmp_path / "small.umseg").manifest
    assert [file.path for file in manifest.files] == ["model.json", "fold_0/weights_final.safetensors"]


def test_cases_can_be_numbered(trained: Path, tmp_path: Path) -> None:
    export_bundle(trained, tmp_path / "named.umseg")
    export_bundle(trained, tmp_path / "numbered.umseg", hide_cases=True)
    files = {name: b"".join(members_of(tmp_path / f"{name}.umseg").values()) for name in ("named", "numbered")}
    assert b"anna" in files["named"]
    assert not any(case in files["numbered"] for case in (b"anna", b"bert", b"cora"))
    folder = import_bundle(tmp_path / "numbered.umseg", tmp_path / "imported").folder
    metrics = load_metrics(folder / "fold_0" / "validation" / "metrics.json")
    assert [case.case for case in metrics.cases] == ["case_0001", "case_0002"]


def test_a_cascade_brings_its_first_stage(tmp_path: Path, cache: Path) -> None:
    second = write_cascade(tmp_path / "models")
    export_bundle(second, tmp_path / "cascade.umseg")
    folder = unpacked(tmp_path / "cascade.umseg")
    assert load_card(folder).first_stage == "first_stage"
    assert load_card(folder / "first_stage").configuration_name == "low"
    # Only the fold that the second stage needs.
    assert [path.name for path in (folder / "first_stage").glob("fold_*")] == ["fold_0"]
    expected = Predictor(second, "cpu", precision="fp32").predict(make_image()[None], SPACING)
    found = Predictor(folder, "cpu", precision="fp32").predict(make_image()[None], SPACING)
    np.testing.assert_array_equal(found, expected)


def test_the_cleaning_of_objects_is_included(tmp_path: Path, cache: Path) -> None:
    labels = {"background": 0, "cell": 1}
    models = write_model(tmp_path / "nnunet__small", task="instance", labels=labels)
    chosen = {"smallest": 5, "fill_holes": True, "schema_version": 1, "cases": 2, "F1_before": 0.5, "F1_after": 0.6}
    (models / "fold_0" / "postprocessing.json").write_text(json.dumps(chosen))
    export_bundle(models, tmp_path / "cells.umseg")
    assert Predictor(tmp_path / "cells.umseg", "cpu").model.settings == Predictor(models, "cpu").model.settings


def test_an_imported_model_keeps_its_terms_and_records(trained: Path, tmp_path: Path) -> None:
    first = export_bundle(trained, tmp_path / "liver.umseg", weights="best", terms=TERMS).manifest
    folder = import_bundle(tmp_path / "liver.umseg", tmp_path / "imported").folder
    again = export_bundle(folder, tmp_path / "again" / "liver.umseg").manifest
    assert again == first
    other = export_bundle(folder, tmp_path / "other.umseg", terms=Terms(licence="MIT")).manifest
    assert (other.licence, other.intended_use) == ("MIT", TERMS.intended_use)


def test_a_bundle_can_be_exported_again(tmp_path: Path, cache: Path) -> None:
    file = write_bundle(tmp_path)
    export_bundle(file, tmp_path / "again" / "small.umseg")
    assert (tmp_path / "again" / "small.umseg").read_bytes() == file.read_bytes()


class TestRefusals:
    def test_damaged_weights(self, trained: Path, tmp_path: Path) -> None:
        file = trained / "fold_0" / "weights_final.safetensors"
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
        with pytest.raises(UserError, match="is damaged"):
            export_bundle(trained, tmp_path / "liver.umseg")
        assert not list(tmp_path.glob("*liver*"))

    def test_weights_that_change_meanwhile(
        self, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        measured = module._measured

        def measure(path: str, file: Path) -> BundledFile:
            found = measured(path, file)
            file.write_bytes(file.read_bytes()[:-1] + b"x")
            return found

        monkeypatch.setattr(module, "_measured", measure)
        with pytest.raises(UserError, match="changed while"):
            export_bundle(trained, tmp_path / "liver.umseg")
        assert not list(tmp_path.glob("*liver*"))

    def test_a_fold_that_is_being_trained(self, trained: Path, tmp_path: Path) -> None:
        with (
            claimed_elsewhere(trained / "fold_0", "trains this fold"),
            pytest.raises(UserError, match="it trains this fold"),
        ):
            export_bundle(trained, tmp_path / "liver.umseg")
        assert weights_hash(trained / "fold_0" / "weights_final.safetensors", "")
        with claim(trained / "fold_0", "trains this fold"):  # by this process, which may do both
            export_bundle(trained, tmp_path / "liver.umseg")

    def test_an_earlier_file(self, trained: Path, tmp_path: Path) -> None:
        (tmp_path / "liver.umseg").write_text("mine")
        with pytest.raises(UserError, match="there already"):
            export_bundle(trained, tmp_path / "liver.umseg")
        assert (tmp_path / "liver.umseg").read_text() == "mine"
        export_bundle(trained, tmp_path / "liver.umseg", overwrite=True)
        assert manifest_of(tmp_path / "liver.umseg").name == "liver"

    @pytest.mark.parametrize("name", ["liver.zip", "liver", "con.umseg", "\u202eliver.umseg"])
    def test_other_names(self, trained: Path, tmp_path: Path, name: str) -> None:
        with pytest.raises(UserError, match=r"usual ending|not a valid name"):
            export_bundle(trained, tmp_path / name)

    def test_texts_that_are_too_long(self, trained: Path, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="field 'notes'"):
            export_bundle(trained, tmp_path / "liver.umseg", terms=Terms(notes="x" * 20_001))

    def test_no_model(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="does not exist"):
            export_bundle(tmp_path / "none", tmp_path / "liver.umseg")
