from __future__ import annotations

import json
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
    names.append(fold.postprocessing_file)
    assert [path.relative_to(fold.path).as_posix() for path in names] == [
        "config.json",
        "checkpoint_latest.safetensors",
        "weights_final.safetensors",
        "weights_best.safetensors",
        "validation/metrics.json",
        "postprocessing.json",
    ]


def make_dataset(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "dataset.json").write_text("{}")
    return folder


def planned_from(folder: Path, root: Path) -> Workspace:
    workspace = Workspace.to_be(folder, root)
    workspace.folder.mkdir(parents=True)
    (workspace.folder / "dataset.json").write_text(json.dumps({"folder": str(folder)}))
    return workspace


def test_a_workspace_belongs_to_one_data_set_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, other = make_dataset(tmp_path / "A" / "Dataset001_X"), make_dataset(tmp_path / "B" / "Dataset001_X")
    workspace = planned_from(owner, tmp_path / "w")
    for named in (str(owner), "Dataset001_X", str(workspace.folder), str(tmp_path / "A" / "." / "Dataset001_X")):
        assert Workspace.of(named, tmp_path / "w") == workspace
    assert workspace.moved_from(owner) is None
    for named in (str(other), str(tmp_path / "C" / "Dataset001_X")):
        with pytest.raises(UserError, match="belongs to another data set") as caught:
            Workspace.of(named, tmp_path / "w")
        assert str(owner) in str(caught.value.found)
        assert "--workspace" in str(caught.value.remedy)
    # A name alone that is also a data set at hand is that data set.
    monkeypatch.chdir(other.parent)
    with pytest.raises(UserError, match="belongs to another data set"):
        Workspace.of("Dataset001_X", tmp_path / "w")
    monkeypatch.chdir(owner.parent)
    assert Workspace.of("Dataset001_X", tmp_path / "w") == workspace


def test_a_data_set_that_has_moved_is_planned_again_first(tmp_path: Path) -> None:
    owner = make_dataset(tmp_path / "A" / "Dataset001_X")
    workspace = planned_from(owner, tmp_path / "w")
    moved = tmp_path / "B" / "Dataset001_X"
    moved.parent.mkdir()
    owner.rename(moved)
    assert workspace.moved_from(moved) == owner
    with pytest.raises(UserError, match="was planned from another folder, which is gone") as caught:
        Workspace.of(str(moved), tmp_path / "w")
    assert "umseg plan" in str(caught.value.remedy)
    assert Workspace.of("Dataset001_X", tmp_path / "w") == workspace


def test_a_link_to_the_data_set_is_the_data_set(tmp_path: Path) -> None:
    owner = make_dataset(tmp_path / "A" / "Dataset001_X")
    workspace = planned_from(owner, tmp_path / "w")
    try:
        (tmp_path / "linked").symlink_to(tmp_path / "A", target_is_directory=True)
    except OSError:
        pytest.skip("links cannot be made here")
    assert Workspace.of(str(tmp_path / "linked" / "Dataset001_X"), tmp_path / "w") == workspace


@pytest.mark.parametrize("content", ["[]", "{}", "no JSON"])
def test_a_damaged_record_names_no_owner(tmp_path: Path, content: str) -> None:
    workspace = planned_from(tmp_path / "A" / "Dataset001_X", tmp_path / "w")
    (workspace.folder / "dataset.json").write_text(content)
    assert workspace.planned_from() is None
    assert workspace.moved_from(tmp_path / "B" / "Dataset001_X") is None
