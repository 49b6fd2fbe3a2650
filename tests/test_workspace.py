from __future__ import annotations

from pathlib import Path

import pytest

from umseg.common.errors import UserError
from umseg.planning.plan import Plan
from umseg.workspace import FoldFolder, ModelFolder, Workspace


def test_the_workspace_is_found_by_name_or_path(tmp_path: Path) -> None:
    (tmp_path / "w" / "Dataset001_A").mkdir(parents=True)
    expected = Workspace((tmp_path / "w" / "Dataset001_A").absolute())
    assert Workspace.of("Dataset001_A", tmp_path / "w") == expected
    assert Workspace.of(str(tmp_path / "data" / "Dataset001_A"), tmp_path / "w") == expected


def test_an_unknown_workspace_lists_the_planned_ones(tmp_path: Path) -> None:
    planned = Workspace.to_be(Path("Dataset001_A"), tmp_path)
    planned.folder.mkdir()
    planned.plan_file.touch()
    (tmp_path / "not_planned").mkdir()
    with pytest.raises(UserError) as caught:
        Workspace.of("Dataset002_B", tmp_path)
    assert caught.value.found == "planned data sets: Dataset001_A"


def test_a_missing_record_names_its_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"plan\.json does not exist") as caught:
        Workspace(tmp_path).load(Plan)
    assert caught.value.file == str(Workspace(tmp_path).plan_file)


def test_models_and_folds_are_listed_by_name(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    model = workspace.model("nnunet", "2d")
    for fold in (1, 0, "all"):
        model.fold(fold).path.mkdir(parents=True)
    model.card_file.touch()
    assert workspace.models() == [model]
    assert [fold.name for fold in model.folds()] == ["0", "1", "all"]
    assert model.fold("all").models == model


def test_names_on_disk() -> None:
    """Workspaces that earlier versions made stay valid."""
    fold = ModelFolder(Path("m")).fold(3)
    assert fold == FoldFolder(Path("m/fold_3"))
    names = [fold.config_file, fold.checkpoint, fold.weights("final"), fold.weights("best"), fold.metrics_file]
    assert [path.relative_to(fold.path).as_posix() for path in names] == [
        "config.json",
        "checkpoint_latest.safetensors",
        "weights_final.safetensors",
        "weights_best.safetensors",
        "validation/metrics.json",
    ]
