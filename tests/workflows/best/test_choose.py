"""`umseg best` from trained folds to the one command that it prints, and the bundle of its choice."""

from __future__ import annotations

import logging
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.blobs import write_blobs
from tests.inference.bundle.conftest import cache
from umseg.cli.app import app
from umseg.dataset.io.images import read_label
from umseg.inference.best import Best
from umseg.inference.postprocessing.classes import ClassCleaning, ClassRule
from umseg.workspace import Workspace

__all__ = ["cache"]

SHORT = "--optimizer adamw --lr 3e-3 --epochs 1 --iterations 8 --workers 0 --device cpu --precision fp32 --fold 0,1"


def umseg(*arguments: object) -> str:
    done = CliRunner().invoke(app, [*(str(argument) for argument in arguments), "--quiet"])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace of four cases in two folds, with two models."""
    root = tmp_path_factory.mktemp("best")
    dataset = write_blobs(root / "Dataset906_Best", num_cases=4)
    ids = [f"blob_{number}" for number in range(4)]
    splits = [{"train": ids[2:], "val": ids[:2]}, {"train": ids[:2], "val": ids[2:]}]
    (root / "splits.json").write_text(str(splits).replace("'", '"'))
    plan = "--workers 0 --batch-size 2 --preset cpu --config 3d_fullres"
    umseg("plan", dataset, "--workspace", root / "w", "--splits", root / "splits.json", *plan.split())
    for seed in (0, 1):
        words = ["--model", "nnunet", "--seed", seed, "--tag", f"seed{seed}", *SHORT.split()]
        umseg("train", dataset, "--workspace", root / "w", *words)
    return root / "w" / dataset.name


def maps(folder: Path) -> dict[str, np.ndarray]:
    return {path.name: read_label(path).array for path in sorted(folder.glob("*.nii.gz"))}


def test_from_trained_folds_to_the_same_label_maps_by_the_command_and_by_the_bundle(
    workspace: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = umseg("best", workspace, "--workers", 0, "--precision", "fp32")
    best = Best.load(Workspace(workspace).best_file, "")
    (names,) = (candidate.models for candidate in best.candidates if len(candidate.models) == 2)
    assert best.cases == 4
    scores = [candidate.score for candidate in best.candidates if candidate.score is not None]
    assert scores == sorted(scores, reverse=True)
    assert best.score == scores[0]
    assert best.score_after >= best.score
    # Two models, so that the bundle holds several in every case, and a cleaning that leaves a trace.
    members = tuple(best.members[0].model_copy(update={"model": name}) for name in names)
    cleaning = ClassCleaning(classes={"left blob": ClassRule(smallest=1e6)})
    best.model_copy(update={"members": members, "cleaning": cleaning}).save(Workspace(workspace).best_file)
    (command,) = (line for line in told.splitlines() if line.startswith("Next: "))
    images = workspace.parents[1] / workspace.name / "imagesTr"
    words = shlex.split(command.removeprefix("Next: umseg ").replace("FOLDER", "{}").format(images, "by_command"))
    umseg(*words, "--precision", "fp32")
    umseg("export", workspace / "best.json", "choice.umseg")
    umseg("predict", "--model", "choice.umseg", "--input", images, "--output", "by_bundle", "--precision", "fp32")
    found, expected = maps(tmp_path / "by_bundle"), maps(tmp_path / "by_command")
    assert len(found) == 4
    for name, label_map in expected.items():
        np.testing.assert_array_equal(found[name], label_map)
        assert not (label_map == 1).any()
    # The joint scores of all four cases are in the bundle.
    umseg("import", "choice.umseg", "--output", "imported")
    assert len(list((tmp_path / "imported").glob("fold_*/validation/metrics.json"))) == 2


def test_a_second_call_uses_what_the_first_one_predicted(workspace: Path) -> None:
    first = umseg("best", workspace, "--workers", 0, "--precision", "fp32")
    files = sorted((workspace / "ensembles").rglob("*.*"))
    times = [file.stat().st_mtime_ns for file in files]
    assert len(files) >= 6
    assert umseg("best", workspace, "--workers", 0, "--precision", "fp32") == first
    assert [file.stat().st_mtime_ns for file in files] == times
    assert " + " in first
    assert " + " not in umseg("best", workspace, "--no-pairs", "--workers", 0)


def test_pairs_are_counted_and_their_folds_are_not_listed(workspace: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.rmtree(workspace / "ensembles", ignore_errors=True)
    with caplog.at_level(logging.INFO):
        done = CliRunner().invoke(app, ["best", str(workspace), "--workers", "0", "--precision", "fp32"])
    assert "Validating pair 1 of 1: nnunet" in done.output
    assert "Loaded fold" not in done.output + caplog.text
    assert logging.getLogger("umseg.inference").level == logging.NOTSET
