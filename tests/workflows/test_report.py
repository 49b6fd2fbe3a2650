"""``umseg report``: pages of a fold, of scores and of predictions alone, and the ratings of reviewers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from tests.blobs import write_blobs
from tests.reports.page.builder import Elements, outside
from tests.test_compatibility import DATASET, RECORDED
from umseg.cli.app import app
from umseg.dataset.io.grid import Geometry
from umseg.dataset.io.images import read_label, write_label

FOLD = RECORDED / "workspaces" / DATASET / "models" / "nnunet__3d_fullres" / "fold_0"


def umseg(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


def report(*arguments: object) -> str:
    """What a page holds."""
    arguments = (*arguments, "--workers", 0, "--quiet")
    done = umseg("report", *arguments)
    assert done.exit_code == 0, done.output
    page = Path(done.output.strip().removeprefix("Page: "))
    return page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of three cases, with predictions that miss the first slices of a class."""
    folder = write_blobs(tmp_path_factory.mktemp("data") / "Dataset001_Blobs", num_cases=3)
    for case in range(3):
        label = read_label(folder / "labelsTr" / f"blob_{case}.nii.gz")
        array = np.array(label.array)
        array[: 5 + case] = 0
        write_label(folder / "predictions" / f"blob_{case}.nii.gz", array, label.geometry)
    (folder / "predictions" / "dataset.json").write_text((folder / "dataset.json").read_text(), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def scored(data: Path) -> Path:
    done = umseg("evaluate", "--predictions", data / "predictions", "--reference", data / "labelsTr", "--workers", 0)
    assert done.exit_code == 0, done.output
    return data / "predictions" / "metrics.json"


def test_a_fold_has_scores_curves_methods_and_its_command(tmp_path: Path) -> None:
    page = Elements(report(FOLD, "-o", tmp_path / "page.html"))
    assert "nnunet__3d_fullres, fold 0" in page.text
    assert page.of("section", id="training")
    assert "loss over 2 epochs" in " ".join(have.get("aria-label", "") for have in page.of("svg"))
    assert "umseg train Dataset950_Blobs" in page.text
    assert "from seed 0" in page.text
    assert "Nature Methods 18, 203" in page.text
    assert not outside(page)
    # The data set is not where it was planned.
    assert "the images were not found" in page.text


def test_scores_alone_make_a_page(scored: Path, tmp_path: Path) -> None:
    page = Elements(report(scored, "-o", tmp_path / "page.html"))
    assert [have["data-case"] for have in page.of("article")] == ["blob_2", "blob_1", "blob_0"]
    assert not page.of("img")


def test_scores_with_their_images_have_pictures_and_volumes(data: Path, scored: Path, tmp_path: Path) -> None:
    options = ("--images", data / "imagesTr", "--reference", data / "labelsTr", "--volumes", 1)
    text = report(scored, *options, "-o", tmp_path / "page.html")
    page = Elements(text)
    layers = {have["data-layer"] for have in page.of("img")}
    assert layers == {"image", "reference", "prediction-0", "error-0"}
    assert len(page.of("img")) == 3 * 3 * 4
    (volumes,) = (json.loads(entry) for entry in page.texts["script"] if entry.startswith('{"blob'))
    assert {case: set(files) for case, files in volumes.items()} == {"blob_2": {"image", "reference", "prediction-0"}}
    assert not outside(page)
    assert text == report(scored, *options, "-o", tmp_path / "again.html")


def test_label_maps_and_model_can_lie_elsewhere(data: Path, scored: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "scores" / "metrics.json"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(scored.read_bytes())
    options = ("--predictions", data / "predictions", "--images", data / "imagesTr", "--model", FOLD)
    page = Elements(report(elsewhere, *options, "--pictures", 1, "--volumes", 0, "-o", tmp_path / "page.html"))
    assert len(page.of("img")) == 3 * 2
    assert page.of("section", id="training")
    assert "Pictures: of 1 case, those that come first." in page.text


def test_predictions_alone_are_a_page_for_quality_control(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "predictions"
    folder.mkdir()
    for file in (data / "predictions").glob("*.nii.gz"):
        (folder / file.name).write_bytes(file.read_bytes())
    page = Elements(report(folder, "--images", data / "imagesTr", "--volumes", 0, "-o", tmp_path / "page.html"))
    assert not page.of("section", id="scores")
    assert {have["data-layer"] for have in page.of("img")} == {"image", "prediction-0"}
    assert "predictions without references" in page.text


def test_a_label_map_of_another_shape_is_a_note_in_place_of_a_picture(data: Path, scored: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    other = write_blobs(tmp_path / "Dataset002_Other", num_cases=1)
    images.mkdir()
    (images / "blob_0_0000.nii.gz").write_bytes((other / "labelsTr" / "blob_0.nii.gz").read_bytes())
    small = read_label(other / "labelsTr" / "blob_0.nii.gz")
    references = tmp_path / "references"
    references.mkdir()
    geometry = Geometry((4, 4, 4), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    write_label(references / "blob_0.nii.gz", np.array(small.array[:4, :4, :4]), geometry)
    page = Elements(report(scored, "--images", images, "--reference", references, "-o", tmp_path / "page.html"))
    assert "No picture: A label map has another shape than its image." in page.text


@pytest.mark.parametrize("name", ["nothing", "empty"])
def test_what_no_page_is_made_from_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    done = umseg("report", tmp_path / name, "-o", tmp_path / "page.html")
    assert done.exit_code == 2
    assert "expected:" in done.output
    assert not (tmp_path / "page.html").exists()


def test_a_fold_that_is_not_validated_is_refused(tmp_path: Path) -> None:
    unfinished = RECORDED / "workspaces" / DATASET / "models" / "umamba_enc-ssm-residual__3d_fullres"
    done = umseg("report", unfinished, "-o", tmp_path / "page.html")
    assert done.exit_code == 2
    assert "Nothing is validated yet" in done.output


def test_ratings_of_several_reviewers_are_merged(tmp_path: Path) -> None:
    for name, grades in (("ann", (1, 2, 4)), ("bob", (1, 3, 4))):
        ratings = [{"case": f"c{n}", "source": "m", "rating": grade, "note": ""} for n, grade in enumerate(grades)]
        content = {"schema_version": 1, "page": "p", "title": "t", "reviewer": name, "ratings": ratings}
        (tmp_path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    done = umseg("report", "--ratings", tmp_path / "ann.json", tmp_path / "bob.json", "-o", tmp_path / "both.csv")
    assert done.exit_code == 0, done.output
    assert "The same grade: 67%. At most one grade apart: 100%." in done.output
    assert "Cohen's kappa with quadratic weights: 0.897." in done.output
    assert (tmp_path / "both.csv").read_text(encoding="utf-8").splitlines()[1] == "c0,m,1,1,1.00,,"
