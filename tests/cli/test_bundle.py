"""``umseg export`` and ``umseg import`` as a user types them."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.inference.bundle.conftest import cache, hub, small
from tests.inference.bundle.hub_server import TOKEN, UPLOADS, Hub
from tests.inference.models import make_image, write_model
from umseg.cli.app import app
from umseg.dataset.io.grid import Geometry
from umseg.dataset.io.images import write_label

__all__ = ["cache", "hub", "small"]


def umseg(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "nnunet__small")
    return tmp_path


def test_export_and_import(here: Path) -> None:
    (here / "use.txt").write_text("Research only.\n")
    exported = umseg("export", "nnunet__small", "liver.umseg", "--licence", "MIT", "--intended-use", "@use.txt")
    assert exported.exit_code == 0, exported.output
    assert exported.output.startswith("Wrote liver.umseg: 1 fold of Dataset900_Small, 2 classes, ")
    assert "Next: umseg predict --model liver.umseg --input FOLDER --output FOLDER" in exported.output
    imported = umseg("import", "liver.umseg")
    assert imported.exit_code == 0, imported.output
    assert imported.output.startswith(f"Imported liver to {here / 'umseg-models' / 'liver'}: 1 fold of Dataset900")
    assert "Licence: MIT\nIntended use: Research only.\n" in imported.output
    again = umseg("import", "bundle", "liver.umseg", "--output", "other")
    assert again.exit_code == 0, again.output
    assert (here / "other" / "model.json").is_file()


def test_predict_with_a_bundle(here: Path, cache: Path) -> None:
    umseg("export", "nnunet__small", "liver.umseg")
    image = (make_image() > 2).astype("uint8")
    write_label(
        here / "images" / "a_0000.nii.gz",
        image,
        Geometry(image.shape[::-1], (1.0,) * 3, (0.0,) * 3, (1.0, 0, 0, 0, 1, 0, 0, 0, 1)),
    )
    outputs = []
    for model in ("nnunet__small", "liver.umseg"):
        done = umseg("predict", "--model", model, "--input", "images", "--output", model + "_out", "--quiet")
        assert done.exit_code == 0, done.output
        outputs.append((here / f"{model}_out" / "a.nii.gz").read_bytes())
    assert outputs[0] == outputs[1]


@UPLOADS
def test_publish_and_import_from_the_hub(here: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    published = umseg("export", "nnunet__small", "hf://clinic/liver", "--quiet")
    assert published.exit_code == 0, published.output
    assert published.output.startswith("Published hf://clinic/liver: 1 fold of Dataset900_Small")
    imported = umseg("import", "hf://clinic/liver", "--quiet")
    assert imported.exit_code == 0, imported.output
    assert (here / "umseg-models" / "liver" / "model.json").is_file()
    assert TOKEN not in published.output + imported.output


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("export", "nnunet__small", "liver.zip"), "The bundle has to be a file of the usual ending."),
        (("export", "nnunet__small", "x.umseg", "--weights", "worst"), "worst"),
        (("export", "nnunet__small", "x.umseg", "--notes", "@none.txt"), "The text of --notes cannot be read."),
        (("export", "nnunet__small", "x.umseg", "--licence", "\x1b[2J"), "field 'licence'"),
        (("export", "nnunet__small", "hf://liver"), "The name of the model on the hub is not valid."),
        (("export", "none", "x.umseg"), "The model folder does not exist."),
        (("import", "none.umseg"), "none.umseg does not exist."),
        (("import", "nnunet__small/model.json"), "damaged, or it is no bundle of umseg"),
    ],
)
def test_mistakes_end_in_a_clear_error(here: Path, arguments: tuple[str, ...], expected: str) -> None:
    result = umseg(*arguments)
    assert result.exit_code == 2
    assert result.output.startswith("error: ")
    assert expected in result.output
    assert not list(here.glob("*.umseg"))


def test_other_kinds_of_models_keep_their_words(here: Path) -> None:
    assert "dataset.json does not exist" in umseg("import", "nnunet", "nnunet__small", "imported").output
    misspelt = umseg("import", "nnunett", "a", "b")
    assert misspelt.exit_code == 2
    assert "Did you mean 'nnunet'?" in misspelt.output
