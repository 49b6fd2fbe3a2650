"""The folder of a run: what is resumed, refused, or discarded."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.claimants import claimed_elsewhere
from tests.training.factories import make_card
from umseg.common.errors import UserError
from umseg.common.processes import claims
from umseg.common.processes.claims import holder
from umseg.training.config.training_config import TrainingConfig
from umseg.training.data.splits import Split
from umseg.training.saved.claimed import claimed_folds
from umseg.training.saved.folder import RunFolder
from umseg.workspace import BEST, FINAL, LATEST, POSTPROCESSING, FoldFolder, ModelFolder, Workspace

CONFIG = TrainingConfig(epochs=3)
SPLIT = Split(train=("a", "b"), validation=("c",))


@pytest.fixture
def models(tmp_path: Path) -> ModelFolder:
    return Workspace(tmp_path / "w").model("nnunet", "2d")


def begin(models: ModelFolder, *files: str, split: Split | None = SPLIT) -> FoldFolder:
    """A fold in which an earlier run left some files."""
    fold = models.fold(0)
    fold.path.mkdir(parents=True)
    CONFIG.save(fold.config_file)
    if split is not None:
        split.save(fold.split_file)
    for name in files:
        (fold.path / name).touch()
    return fold


@pytest.mark.parametrize("files", [(FINAL,), (BEST,), (FINAL, BEST)])
def test_weights_without_a_checkpoint_are_not_overwritten(models: ModelFolder, files: tuple[str, ...]) -> None:
    begin(models, *files)
    with pytest.raises(UserError, match="not the checkpoint") as caught:
        RunFolder(models, CONFIG.model_copy(update={"epochs": 6}), SPLIT)
    assert files[0] in str(caught.value.found)
    assert "--restart" in str(caught.value.remedy)
    assert not RunFolder(models, CONFIG, SPLIT, [0]).begun


def test_a_complete_run_stays_complete_without_its_checkpoint(models: ModelFolder) -> None:
    begin(models, FINAL)
    assert RunFolder(models, CONFIG, SPLIT).complete


def test_a_run_that_is_extended_loses_what_its_weights_led_to(models: ModelFolder) -> None:
    fold = begin(models, FINAL, LATEST, POSTPROCESSING)
    fold.validation.mkdir()
    fold.metrics_file.touch()
    gone = (fold.weights("final"), fold.metrics_file, fold.postprocessing_file)
    card = make_card()
    RunFolder(models, CONFIG, SPLIT).prepare(card, "fp32")
    assert all(file.exists() for file in gone)
    RunFolder(models, CONFIG.model_copy(update={"epochs": 6}), SPLIT).prepare(card, "fp32")
    assert not any(file.exists() for file in gone)


def test_weights_with_other_options_are_refused(models: ModelFolder) -> None:
    begin(models, FINAL)
    with pytest.raises(UserError, match="other options"):
        RunFolder(models, CONFIG.model_copy(update={"lr": 0.5}), SPLIT)


def test_weights_without_a_record_are_refused(models: ModelFolder) -> None:
    begin(models, FINAL).config_file.unlink()
    with pytest.raises(UserError, match="does not exist"):
        RunFolder(models, CONFIG, SPLIT)


def test_other_cases_are_told(models: ModelFolder, caplog: pytest.LogCaptureFixture) -> None:
    begin(models, LATEST)
    RunFolder(models, CONFIG, SPLIT).check_cases()
    assert not caplog.text
    RunFolder(models, CONFIG, Split(train=("a", "d"), validation=("c",))).check_cases()
    assert "other cases than it has now (training cases: 1 added (d), 1 taken out (b))" in caplog.text
    assert "--restart" in caplog.text


def test_a_training_case_that_is_now_held_out_is_refused(models: ModelFolder) -> None:
    begin(models, LATEST)
    with pytest.raises(UserError, match="are now its validation cases") as caught:
        RunFolder(models, CONFIG, Split(train=("a", "c"), validation=("b",))).check_cases()
    assert caught.value.found == "b"
    RunFolder(models, CONFIG, Split(train=("a", "c"), validation=("b",)), [0]).check_cases()


def test_runs_of_earlier_versions_have_no_record_of_their_cases(models: ModelFolder) -> None:
    begin(models, LATEST, split=None)
    RunFolder(models, CONFIG, Split(train=("x",), validation=("a",))).check_cases()


def test_clearing_a_held_fold_keeps_the_claim(models: ModelFolder, tmp_path: Path) -> None:
    fold, other = begin(models, LATEST, FINAL), models.fold(1)
    other.path.mkdir()
    (other.path / FINAL).touch()
    with claimed_folds(Workspace(tmp_path / "w"), models, [0, 1]):
        folder = RunFolder(models, CONFIG, SPLIT, [0, 1])
        folder.discard()
        assert holder(fold.path) is not None
        assert not fold.trained
        assert not other.trained
    assert not other.path.exists(), "a folder that is not used again is gone"


def test_a_fold_that_another_process_trains_is_refused(
    models: ModelFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "_GRACE", 0.1)
    fold = begin(models, LATEST)
    with claimed_elsewhere(fold.path, "trains this fold") as process:
        for folds in ([0], [1, 0]):
            with (
                pytest.raises(UserError, match="it trains this fold") as caught,
                claimed_folds(Workspace(tmp_path / "w"), models, folds),
            ):
                pytest.fail("the fold is held")
            assert f"process {process.pid}" in str(caught.value.found)
        # Of processes that train together only the first one claims.
        with claimed_folds(Workspace(tmp_path / "w"), models, [0], first=False):
            pass
    assert fold.checkpoint.exists()
    assert not models.fold(1).path.exists()


def test_no_training_begins_while_the_data_set_is_planned(models: ModelFolder, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "w")
    with (
        claimed_elsewhere(workspace.folder, "plans this data set"),
        pytest.raises(UserError, match="another process plans this data set"),
        claimed_folds(workspace, models, [0]),
    ):
        pytest.fail("the workspace is held")
