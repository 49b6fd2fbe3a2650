"""``umseg plan`` may be killed, repeated, and run on changed data: the store is always what one run would have made."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

from tests.blobs import write_blobs
from umseg.cli.app import app
from umseg.common.errors import UserError
from umseg.planning import Overrides
from umseg.planning.fingerprint import extract_fingerprint
from umseg.preprocess import CaseStore
from umseg.training import TrainingConfig, train
from umseg.workflows import plan as module
from umseg.workflows.plan import plan_dataset
from umseg.workspace import Workspace

pytestmark = pytest.mark.slow

CONFIGURATION = "3d_fullres"


@pytest.fixture(autouse=True)
def few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing intensities takes longer than all else on so small a data set."""
    monkeypatch.setattr(module, "extract_fingerprint", partial(extract_fingerprint, num_samples=10_000))


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_blobs(tmp_path / "Dataset903_Work", num_cases=4)


def plan(dataset: Path, root: Path, **choices: Any) -> Workspace:
    return plan_dataset(dataset, root, **{"configurations": [CONFIGURATION], "quiet": True, **choices})[0]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def written(folder: Path) -> dict[str, tuple[int, int]]:
    """When, and as which file: both change when a file is written again."""
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in folder.iterdir()}


def rewritten(before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]) -> set[str]:
    return {name.split(".")[0] for name in after if after[name] != before.get(name)}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks, so that twenty runs import once")
def test_killed_at_random_moments_the_next_run_completes_the_same_bytes(dataset: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.workflows.killed_plans", str(dataset), str(tmp_path), "7"],
        cwd=Path(__file__).resolve().parents[2],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    endings = json.loads(done.stdout)
    assert len(endings) == 20
    assert set(endings) <= {0, -signal.SIGKILL}
    assert endings.count(-signal.SIGKILL) >= 15, "most were killed before their end"
    expected = tree(tmp_path / "undisturbed")
    assert len(expected) == 5 + 2 * 4 * 4
    assert not expected.keys() & {name for name in expected if ".tmp-" in name}
    for number in range(20):
        assert tree(tmp_path / f"killed_{number}") == expected, f"after kill {number}"


def test_a_second_run_writes_no_case_again(dataset: Path, tmp_path: Path) -> None:
    folder = plan(dataset, tmp_path / "w").preprocessed(CONFIGURATION)
    before = written(folder)
    plan(dataset, tmp_path / "w", overrides=Overrides(batch_size=7))
    assert written(folder) == before


def test_a_run_continues_where_it_stopped(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = CaseStore.write

    def fails_at_third(store: CaseStore, case_id: str, *arguments: Any) -> None:
        if case_id == "blob_2":
            raise UserError("The disk is full: the file was not written.")
        write(store, case_id, *arguments)

    monkeypatch.setattr(CaseStore, "write", fails_at_third)
    with pytest.raises(UserError, match="disk is full"):
        plan(dataset, tmp_path / "w")
    made = Workspace.of(dataset.name, tmp_path / "w")
    folder = made.preprocessed(CONFIGURATION)
    before = written(folder)
    assert rewritten({}, before) == {"blob_0", "blob_1"}
    with pytest.raises(UserError, match="not preprocessed") as caught:
        train(made.folder, TrainingConfig(model="nnunet", fold="all"), device="cpu", quiet=True)
    assert caught.value.found == "2 of 4 missing: blob_2, blob_3"
    monkeypatch.setattr(CaseStore, "write", write)
    plan(dataset, tmp_path / "w")
    assert rewritten(before, written(folder)) == {"blob_2", "blob_3"}


def test_a_changed_case_is_made_anew_and_only_that(dataset: Path, tmp_path: Path) -> None:
    made = plan(dataset, tmp_path / "w")
    folder = made.preprocessed(CONFIGURATION)
    before = written(folder)
    path = dataset / "labelsTr" / "blob_1.nii.gz"
    label = sitk.ReadImage(str(path))
    label[8, 3, 3] = 1
    sitk.WriteImage(label, str(path))
    plan(dataset, tmp_path / "w")
    assert rewritten(before, written(folder)) == {"blob_1"}
    assert tree(folder) == tree(plan(dataset, tmp_path / "fresh").preprocessed(CONFIGURATION))


def test_a_case_that_is_gone_is_removed(dataset: Path, tmp_path: Path) -> None:
    folder = plan(dataset, tmp_path / "w").preprocessed(CONFIGURATION)
    before = written(folder)
    (dataset / "labelsTr" / "blob_3.nii.gz").unlink()
    (dataset / "imagesTr" / "blob_3_0000.nii.gz").unlink()
    description = json.loads((dataset / "dataset.json").read_text())
    (dataset / "dataset.json").write_text(json.dumps({**description, "numTraining": 3}))
    plan(dataset, tmp_path / "w")
    assert CaseStore(folder).case_ids() == ("blob_0", "blob_1", "blob_2")
    assert rewritten(before, written(folder)) == set()


def test_another_store_dtype_makes_all_cases_anew(dataset: Path, tmp_path: Path) -> None:
    made = plan(dataset, tmp_path / "w")
    store = CaseStore(made.preprocessed(CONFIGURATION))
    before = written(store.folder)
    plan(dataset, tmp_path / "w", store_dtype="float16")
    assert {store.record(case_id).dtype for case_id in store.case_ids()} == {"float16"}
    assert len(rewritten(before, written(store.folder))) == 4


def test_half_precision_is_an_option_and_can_be_trained_on(dataset: Path, tmp_path: Path) -> None:
    command = ["plan", str(dataset), "--workspace", str(tmp_path / "w"), "--config", CONFIGURATION, "--workers", "0"]
    wrong = CliRunner().invoke(app, [*command, "--quiet", "--store-dtype", "half"])
    assert wrong.exit_code == 2
    assert "float32 or float16" in wrong.output
    assert not (tmp_path / "w").exists()
    assert CliRunner().invoke(app, [*command, "--quiet", "--store-dtype", "float16"]).exit_code == 0
    made = Workspace.of(dataset.name, tmp_path / "w")
    assert CaseStore(made.preprocessed(CONFIGURATION)).record("blob_0").dtype == "float16"
    config = TrainingConfig(model="nnunet", epochs=1, iterations=1, validation_iterations=1)
    assert (train(made.folder, config, device="cpu", quiet=True) / "weights_final.safetensors").exists()


@pytest.mark.parametrize("ending", [".data.b2nd", ".label.b2nd", ".locations.safetensors", ".json"])
def test_training_refuses_a_damaged_case_and_planning_mends_it(dataset: Path, tmp_path: Path, ending: str) -> None:
    made = plan(dataset, tmp_path / "w")
    folder = made.preprocessed(CONFIGURATION)
    good, before = tree(folder), written(folder)
    path = folder / f"blob_2{ending}"
    content = bytearray(path.read_bytes())
    content[len(content) // 3] = 0 if content[len(content) // 3] else 1
    path.write_bytes(content)
    config = TrainingConfig(model="nnunet", epochs=1, iterations=1, validation_iterations=1)
    with pytest.raises(UserError, match="umseg plan") as caught:
        train(made.folder, config, device="cpu", quiet=True)
    assert caught.value.file == str(path)
    plan(dataset, tmp_path / "w")
    assert tree(folder) == good
    assert rewritten(before, written(folder)) == {"blob_2"}


def test_the_other_configuration_loses_what_no_longer_fits(dataset: Path, tmp_path: Path) -> None:
    made = plan(dataset, tmp_path / "w", configurations=None)
    shutil.copy(dataset / "imagesTr" / "blob_0_0000.nii.gz", dataset / "imagesTr" / "blob_1_0000.nii.gz")
    plan(dataset, tmp_path / "w")
    assert CaseStore(made.preprocessed("2d")).case_ids() == ("blob_0", "blob_2", "blob_3")
    assert CaseStore(made.preprocessed(CONFIGURATION)).case_ids() == ("blob_0", "blob_1", "blob_2", "blob_3")


def test_a_small_disk_is_noticed_beforehand(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    usage = shutil.disk_usage(tmp_path)
    plan(dataset, tmp_path / "w")
    assert "too small" not in caplog.text
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10_000))
    plan(dataset, tmp_path / "w")
    assert "too small" not in caplog.text, "all is there already"
    plan(dataset, tmp_path / "other")
    assert "too small" in caplog.text
