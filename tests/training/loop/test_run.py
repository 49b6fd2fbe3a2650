"""Training as a whole: the same seed gives the same weights, however often the run is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.blobs import write_blobs
from umseg.common.errors import UserError
from umseg.models import ModelOptions
from umseg.models.card import load_card
from umseg.training import TrainingConfig, train
from umseg.training.loop.trainer import Trainer
from umseg.training.saved.checkpoint import load_tensors, save_tensors
from umseg.workflows.plan import plan_dataset
from umseg.workspace import BEST, LATEST

pytestmark = pytest.mark.slow

CONFIG = TrainingConfig(
    model="umamba_bot", options=ModelOptions(ssm_residual=True), epochs=3, iterations=6, validation_iterations=1
)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    folder = write_blobs(root / "Dataset902_Run", num_cases=5)
    planned, _, _ = plan_dataset(folder, root / "w", configurations=["3d_fullres"], quiet=True)
    return planned.folder


@pytest.fixture(scope="module")
def undisturbed(workspace: Path) -> Path:
    """The fold's folder of a run that nothing disturbed."""
    return train(workspace, CONFIG, device="cpu", tag="undisturbed", quiet=True)


def weights(fold: Path) -> bytes:
    return (fold / "weights_final.safetensors").read_bytes()


def test_equal_seeds_give_bit_identical_weights(workspace: Path, undisturbed: Path) -> None:
    again = train(workspace, CONFIG, device="cpu", workers=1, tag="again", quiet=True)
    assert weights(again) == weights(undisturbed)


def test_another_seed_gives_other_weights(workspace: Path, undisturbed: Path) -> None:
    config = CONFIG.model_copy(update={"seed": 1})
    assert weights(train(workspace, config, device="cpu", tag="seed1", quiet=True)) != weights(undisturbed)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_run_continues_to_the_same_weights(workspace: Path, undisturbed: Path) -> None:
    command = [sys.executable, "-m", "umseg", "train", workspace.name, "--workspace", str(workspace.parent)]
    options = "--model umamba_bot --ssm-residual --epochs 3 --iterations 6 --validation-iterations 1"
    rest = f"{options} --device cpu --workers 1 --tag killed --quiet --no-validate".split()
    process = subprocess.Popen([*command, *rest], start_new_session=True)
    fold = workspace / "models" / "umamba_bot-ssm-residual-killed__3d_fullres" / "fold_0"
    wait_for(fold / LATEST, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (fold / "weights_final.safetensors").exists(), "the run was over before it was killed"

    done = subprocess.run([*command, *rest], check=True, capture_output=True, text=True)
    assert str(fold.parent) in done.stdout
    assert weights(fold) == weights(undisturbed)
    log = (fold / "log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in log[1:]] == ["1", "2", "3"]


def test_best_weights_that_a_kill_kept_from_being_written_are_written_on_resuming(
    workspace: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(self: Trainer) -> None:
        if self.rows:
            raise InterruptedError

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_save_best", killed)
        with pytest.raises(InterruptedError):
            train(workspace, CONFIG, device="cpu", tag="between", quiet=True)
    fold = workspace / "models" / "umamba_bot-ssm-residual-between__3d_fullres" / "fold_0"
    assert sorted(path.name for path in fold.glob("*.safetensors")) == [LATEST]
    train(workspace, CONFIG, device="cpu", tag="between", quiet=True)
    assert weights(fold) == weights(undisturbed)
    assert (fold / BEST).read_bytes() == (undisturbed / BEST).read_bytes()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM handler")
def test_a_stopped_run_says_how_to_go_on_and_continues_to_the_same_weights(workspace: Path, undisturbed: Path) -> None:
    command = [sys.executable, "-m", "umseg", "train", workspace.name, "--workspace", str(workspace.parent)]
    options = "--model umamba_bot --ssm-residual --epochs 3 --iterations 6 --validation-iterations 1"
    rest = f"{options} --device cpu --workers 1 --tag stopped --quiet --no-validate".split()
    fold = workspace / "models" / "umamba_bot-ssm-residual-stopped__3d_fullres" / "fold_0"
    for run in range(3):
        # The first run ends in the middle of an epoch, the second by its time limit after one more iteration.
        limit = ["--max-time", "00:00:00"] if run == 1 else []
        process = subprocess.Popen([*command, *rest, *limit], stdout=subprocess.PIPE, text=True, start_new_session=True)
        if run == 0:
            wait_for(fold / LATEST, process)
            # As schedulers do: to the worker as well.
            os.killpg(process.pid, signal.SIGTERM)
        out, _ = process.communicate()
        assert process.returncode == 0
        assert ("To resume: umseg train" in out) == (run < 2)
        assert (fold / "weights_final.safetensors").exists() == (run == 2)
    assert weights(fold) == weights(undisturbed)


def test_more_epochs_continue_a_complete_run(workspace: Path) -> None:
    config = CONFIG.model_copy(update={"epochs": 1, "iterations": 2})
    train(workspace, config, device="cpu", tag="longer", quiet=True)
    fold = train(workspace, config.model_copy(update={"epochs": 2}), device="cpu", tag="longer", quiet=True)
    rows = load_tensors(fold / LATEST, "")[1]["log"]
    assert [row["epoch"] for row in rows] == [1, 2]
    assert rows[1]["lr"] == pytest.approx(0.01 * 0.5**0.9)
    with pytest.raises(UserError, match="other options") as caught:
        train(workspace, config, device="cpu", tag="longer", quiet=True)
    assert caught.value.found == "epochs = 1"


def wait_for(path: Path, process: subprocess.Popen[Any], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, "training ended without a checkpoint"
        assert time.monotonic() < end, "training wrote no checkpoint"
        time.sleep(0.02)


def test_a_checkpoint_holds_log_optimizer_and_weights(undisturbed: Path) -> None:
    tensors, state = load_tensors(undisturbed / LATEST, "")
    assert len(state["log"]) == CONFIG.epochs
    assert any(name.startswith("network.") for name in tensors)
    assert any(name.endswith(".momentum_buffer") for name in tensors)


def test_the_network_learns(workspace: Path) -> None:
    config = TrainingConfig(model="umamba_bot", optimizer="adamw", lr=3e-3, epochs=3, iterations=10)
    fold = train(workspace, config, device="cpu", tag="learns", quiet=True)
    rows = load_tensors(fold / LATEST, "")[1]["log"]
    assert rows[-1]["train_loss"] < rows[0]["train_loss"] - 0.3
    assert rows[-1]["validation_loss"] < 0


def test_own_optimizer_of_the_ssm_layers_trains_them(workspace: Path) -> None:
    config = CONFIG.model_copy(update={"epochs": 1, "ssm_optimizer": "adamw", "ssm_lr": 1e-2})
    fold = train(workspace, config, device="cpu", tag="own", quiet=True)
    tensors, _ = load_tensors(fold / LATEST, "")
    slots = [name for name in tensors if name.startswith("optimizer.1.") and name.endswith(".exp_avg")]
    assert slots
    zero_at_start = [t for name, t in tensors.items() if name.startswith("network.") and "out_proj" in name]
    assert zero_at_start
    assert all(bool(t.abs().sum() > 0) for t in zero_at_start)


def test_a_diverging_run_stops_and_keeps_its_last_checkpoint(workspace: Path) -> None:
    good = CONFIG.model_copy(update={"epochs": 1, "options": ModelOptions(ssm=False)})
    fold = train(workspace, good, device="cpu", tag="diverging", quiet=True)
    checkpoint = fold / LATEST
    tensors, state = load_tensors(checkpoint, "")
    # Finite weights whose logits overflow.
    for name in [name for name in tensors if name.startswith("network.heads.")]:
        tensors[name] = tensors[name].fill_(3e38)
    save_tensors(checkpoint, tensors, state)
    before = checkpoint.read_bytes()
    bad = good.model_copy(update={"epochs": 2})
    (fold / "weights_final.safetensors").unlink()
    with pytest.raises(UserError, match="diverged") as caught:
        train(workspace, bad, device="cpu", tag="diverging", quiet=True)
    assert "--lr" in str(caught.value.remedy)
    assert checkpoint.read_bytes() == before


def test_changed_options_are_refused_and_named(workspace: Path, undisturbed: Path) -> None:
    config = CONFIG.model_copy(update={"optimizer": "adamw"})
    with pytest.raises(UserError, match="other options") as caught:
        train(workspace, config, device="cpu", tag="undisturbed", quiet=True)
    assert caught.value.found == "optimizer = adamw, lr = 0.001, weight_decay = 0.01"
    assert caught.value.expected == "optimizer = sgd, lr = 0.01, weight_decay = 3e-05"


def test_a_default_that_is_given_is_no_other_option(workspace: Path, undisturbed: Path) -> None:
    given = CONFIG.model_copy(update={"lr": 0.01, "weight_decay": 3e-5})
    assert train(workspace, given, device="cpu", tag="undisturbed", quiet=True) == undisturbed


@pytest.mark.parametrize(("model", "ssm"), [("nnunet", True), ("umamba_enc", False)])
def test_options_of_mamba_layers_need_some(workspace: Path, model: str, ssm: bool) -> None:
    config = TrainingConfig(model=model, options=ModelOptions(ssm=ssm), ssm_lr=1e-3)
    with pytest.raises(UserError, match="networks with Mamba layers"):
        train(workspace, config, device="cpu", quiet=True)


def test_augmentation_on_a_gpu_needs_one(workspace: Path) -> None:
    with pytest.raises(UserError, match="--augmentation gpu needs a CUDA device"):
        train(workspace, CONFIG.model_copy(update={"augmentation": "gpu"}), device="cpu", quiet=True)


def test_restart_discards_the_earlier_run(workspace: Path) -> None:
    first = CONFIG.model_copy(update={"epochs": 1, "options": ModelOptions(ssm=False)})
    fold = train(workspace, first, device="cpu", tag="restart", quiet=True)
    (fold / "note.txt").write_text("of the first run")
    train(workspace, first.model_copy(update={"seed": 3}), device="cpu", tag="restart", discard=[0], quiet=True)
    assert not (fold / "note.txt").exists()
    assert json.loads((fold / "config.json").read_text())["seed"] == 3


def test_nothing_is_discarded_before_it_is_clear_that_the_new_run_can_start(workspace: Path, tmp_path: Path) -> None:
    first = CONFIG.model_copy(update={"epochs": 1, "options": ModelOptions(ssm=False)})
    fold = train(workspace, first, device="cpu", tag="kept", quiet=True)
    wrong = first.model_copy(update={"init_from": str(tmp_path / "nothing")})
    with pytest.raises(UserError, match="model folder does not exist"):
        train(workspace, wrong, device="cpu", tag="kept", discard=[0], quiet=True)
    assert (fold / "weights_final.safetensors").exists()
    assert json.loads((fold / "config.json").read_text())["init_from"] is None


def test_a_complete_run_is_left_as_it_is(workspace: Path, undisturbed: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in undisturbed.iterdir()}
    assert train(workspace, CONFIG, device="cpu", tag="undisturbed", quiet=True) == undisturbed
    assert {path: path.stat().st_mtime_ns for path in undisturbed.iterdir()} == before


def test_patch_batch_and_mirror_axes_are_those_of_the_options(workspace: Path) -> None:
    sizes = {"patch_size": (16, 16, 16), "batch_size": 3, "mirror_axes": (2,)}
    config = CONFIG.model_copy(update={"epochs": 1, "iterations": 1, **sizes})
    card = load_card(train(workspace, config, device="cpu", tag="sizes", quiet=True).parent)
    assert (card.configuration.patch_size, card.configuration.batch_size) == ((16, 16, 16), 3)
    assert card.mirror_axes == (2,)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"patch_size": (16, 16)}, "--patch-size does not fit"),
        ({"patch_size": (16, 17, 16)}, "--patch-size does not fit"),
        ({"mirror_axes": (0, 3)}, "--mirror-axes names an axis"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(workspace: Path, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem) as caught:
        train(workspace, CONFIG.model_copy(update=options), device="cpu", tag="wrong", quiet=True)
    assert caught.value.expected


def test_averaged_weights_are_kept_and_continue(workspace: Path) -> None:
    config = CONFIG.model_copy(update={"ema": 0.9, "options": ModelOptions(ssm=False)})
    short = config.model_copy(update={"epochs": 2, "iterations": 2})
    fold = train(workspace, short, device="cpu", tag="averaged", quiet=True)
    tensors, _ = load_tensors(fold / LATEST, "")
    final, _ = load_tensors(fold / "weights_final.safetensors", "")
    assert all(torch.equal(final[name], tensors[f"average.{name}"]) for name in final)
    assert not all(torch.equal(final[name], tensors[f"network.{name}"]) for name in final)


def test_folds_of_another_plan_do_not_join_a_model(workspace: Path, undisturbed: Path) -> None:
    plan_file = workspace / "plan.json"
    original = plan_file.read_text()
    plan = json.loads(original)
    plan["configurations"]["3d_fullres"]["batch_size"] += 1
    plan_file.write_text(json.dumps(plan))
    try:
        with pytest.raises(UserError, match="another plan or network") as caught:
            train(workspace, CONFIG.model_copy(update={"fold": 1}), device="cpu", tag="undisturbed", quiet=True)
        size = plan["configurations"]["3d_fullres"]["batch_size"]
        assert caught.value.found == f"trained with batch size {size - 1}"
        assert caught.value.expected == f"as in this run: batch size {size}"
    finally:
        plan_file.write_text(original)


def test_a_network_of_monai_trains_on_its_own_patch(workspace: Path) -> None:
    pytest.importorskip("monai", reason="the extra 'baselines' is not installed")
    config = TrainingConfig(model="segresnet", epochs=1, iterations=1, validation_iterations=1)
    fold = train(workspace, config, device="cpu", quiet=True)
    tensors, _ = load_tensors(fold / "weights_final.safetensors", "")
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())
    assert all(size % 8 == 0 for size in load_card(fold.parent).configuration.patch_size)


def test_a_damaged_checkpoint_is_explained(workspace: Path) -> None:
    config = CONFIG.model_copy(update={"epochs": 1, "options": ModelOptions(ssm=False)})
    fold = train(workspace, config, device="cpu", tag="damaged", quiet=True)
    checkpoint = fold / LATEST
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    longer = config.model_copy(update={"epochs": 2})
    with pytest.raises(UserError, match="damaged") as caught:
        train(workspace, longer, device="cpu", tag="damaged", quiet=True)
    assert (fold / "weights_final.safetensors").exists(), "what was there stays"
    assert "--restart" in str(caught.value.remedy)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_trains_on_a_gpu(workspace: Path, precision: str) -> None:
    config = CONFIG.model_copy(update={"precision": precision, "model": "nnunet", "options": ModelOptions()})
    fold = train(workspace, config, device="cuda", workers=1, tag=f"gpu-{precision}", quiet=True)
    rows = load_tensors(fold / LATEST, "")[1]["log"]
    assert all(torch.isfinite(torch.tensor(row["train_loss"])) for row in rows)
