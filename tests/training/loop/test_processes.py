"""Several processes that share a batch make the same of it as one."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.multiprocessing.spawn import spawn

from tests.blobs import write_blobs
from tests.training.factories import make_configuration, make_network
from umseg.common.errors import UserError
from umseg.dataset.dataset import Dataset
from umseg.evaluation import format_table
from umseg.evaluation.records import load_metrics
from umseg.models import ModelOptions
from umseg.models.device import place
from umseg.training import TrainingConfig, train
from umseg.training.data.batches import Batch
from umseg.training.loop.processes import Processes, environment, even_parts, joined
from umseg.training.loop.step import TrainingStep
from umseg.training.loss.segmentation import SegmentationLoss
from umseg.training.loss.targets import Targets
from umseg.training.optim.optimizer import build_optimizers
from umseg.training.saved.checkpoint import load_tensors
from umseg.workflows.plan import plan_dataset
from umseg.workflows.validate import validate_fold
from umseg.workspace import LATEST, Workspace

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
SAMPLES = 5
TARGETS = [
    Targets(("a", "b")),
    Targets(("a", "b"), ignore_label=3),
    Targets(("whole", "core", "rim"), regions=((1, 2), (2,), (1,)), ignore_label=3),
]
LOSSES: list[str] = ["dice_ce", "dice_focal"]


@given(samples=st.integers(1, 300), parts=st.integers(1, 17))
def test_parts_are_consecutive_and_differ_by_one_at_most(samples: int, parts: int) -> None:
    found = even_parts(samples, parts)
    assert [number for part in found for number in part] == list(range(samples))
    sizes = [len(part) for part in found]
    assert max(sizes) - min(sizes) <= 1
    assert sizes == sorted(sizes, reverse=True)


def test_too_few_samples_are_refused() -> None:
    assert Processes(rank=1, count=2).share(3) == range(2, 3)
    with pytest.raises(UserError, match="fewer samples than") as caught:
        Processes(count=4).share(3)
    assert "--batch-size 4" in str(caught.value.remedy)


def test_a_process_alone_exchanges_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    with joined(environment(), CPU) as alone:
        value = torch.tensor(2.0, requires_grad=True)
        assert alone.first
        assert alone.total(value) is value
        assert alone.any(True) is True
        assert alone.any(False) is False


def make_step(processes: Processes, targets: Targets, batch_dice: bool, name: str, accumulate: int) -> Any:
    config = TrainingConfig(loss=name, accumulate=accumulate)
    configuration = make_configuration(
        features_per_stage=(4, 8, 8), kernel_sizes=((3,) * 3,) * 3, strides=((1,) * 3, (2,) * 3, (2,) * 3),
        num_pool_per_axis=(2,) * 3, n_conv_per_stage=(1,) * 3, n_conv_per_stage_decoder=(1,) * 2,
    )  # fmt: skip
    network = place(make_network(configuration, deep_supervision=True), CPU)
    loss = SegmentationLoss(targets, batch_dice, name, processes)
    return TrainingStep(network, build_optimizers(network, config), loss, config, CPU, torch.float32, SAMPLES)


def make_batch(seed: int, top: int, samples: range) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    data = torch.randn((SAMPLES, 1, 8, 8, 8), generator=generator)
    label = torch.randint(0, top + 1, (SAMPLES, 8, 8, 8), generator=generator).to(torch.int16)
    # Samples differ in how much of them is annotated.
    label[:2, :5] = top
    part = slice(samples.start, samples.stop)
    return Batch(data[part], (label[part], label[part, ::2, ::2, ::2]), ("case",))


def train_steps(processes: Processes) -> list[list[torch.Tensor]]:
    """Two losses, validation and the weights afterwards, for every kind of loss."""
    torch.set_num_threads(1)
    cases = [(targets, dice, name, 1) for targets in TARGETS for dice in (False, True) for name in LOSSES]
    # Where all is a mean over samples, parts of the batch change nothing, though they are not the same ones.
    cases.append((TARGETS[0], False, "dice_ce", 2))
    found = []
    for targets, batch_dice, name, accumulate in cases:
        step = make_step(processes, targets, batch_dice, name, accumulate)
        top = 3 if targets.ignore_label else 2
        batches = [make_batch(seed, top, processes.share(SAMPLES)) for seed in range(2)]
        losses = [step(batch) for batch in batches]
        with torch.no_grad():
            loss, counts = step.evaluate(batches[0])
        weights = [p.detach().clone() for p in step.network.parameters()]
        found.append([*losses, loss, processes.sum_(counts), *weights])
    return found


def train_together(rank: int, port: int, folder: str) -> None:
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE="2")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    with joined(environment(), CPU) as processes:
        found = train_steps(processes)
        assert processes.any(rank == 1)
        assert not processes.any(False)
        torch.save(found, f"{folder}/{rank}.pt")


def free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


def test_two_processes_make_the_steps_of_one_with_every_loss(tmp_path: Path) -> None:
    alone = train_steps(Processes())
    spawn(train_together, (free_port(), str(tmp_path)), nprocs=2)
    both = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    for one, first, second in zip(alone, *both, strict=True):
        for expected, *tensors in zip(one, first, second, strict=True):
            for tensor in tensors:
                torch.testing.assert_close(tensor, expected, rtol=2e-4, atol=1e-6)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("processes")
    folder = write_blobs(root / "Dataset905_Together", num_cases=5)
    planned, _, _ = plan_dataset(folder, root / "w", configurations=["3d_fullres"], quiet=True)
    return planned.folder


def test_the_final_validation_is_shared(workspace: Path, tmp_path: Path) -> None:
    """Each process segments some of the held-out cases; the scores are those that one process finds."""
    cases = [case.id for case in Workspace(workspace).load(Dataset).cases]
    splits = tmp_path / "splits.json"
    splits.write_text(json.dumps([{"train": cases[3:], "val": cases[:3]}]))
    dataset = Workspace(workspace).load(Dataset).folder
    planned, _, _ = plan_dataset(dataset, tmp_path, configurations=["3d_fullres"], splits=splits, quiet=True)
    out = subprocess.run(
        torchrun(planned.folder, "--model nnunet --epochs 1 --iterations 2 --validation-iterations 1"),
        capture_output=True, check=True, timeout=300, encoding="utf-8",
    )  # fmt: skip
    fold = planned.folder / "models" / "nnunet__3d_fullres" / "fold_0"
    together = load_metrics(fold / "validation" / "metrics.json")
    assert out.stdout.count("Model:") == 1
    assert out.stdout.count(format_table(together)) == 1
    assert len(list((fold / "validation").glob("*.nii.gz"))) == 3
    assert validate_fold(planned, fold, device="cpu", precision="fp32", quiet=True) == together


def torchrun(workspace: Path, options: str) -> list[str]:
    starter = f"-m torch.distributed.run --nproc-per-node 2 --master-port {free_port()} -m umseg train"
    place = ["--workspace", str(workspace.parent), "--device", "cpu", "--workers", "0", "--precision", "fp32"]
    return [sys.executable, *starter.split(), workspace.name, *place, *options.split()]


def test_two_processes_train_as_one_with_the_same_batch(workspace: Path) -> None:
    """The whole command: 20 steps, one per epoch so that the log shows every loss; 3 samples for 2 processes."""
    config = TrainingConfig(
        model="umamba_bot", options=ModelOptions(ssm_residual=True), epochs=20, iterations=1, batch_size=3,
        precision="fp32", schedule="constant", lr=1e-3,
    )  # fmt: skip
    alone = train(workspace, config, device="cpu", tag="alone", quiet=True)
    options = (
        "--model umamba_bot --ssm-residual --epochs 20 --iterations 1 --batch-size 3 --schedule constant --lr 1e-3"
    )
    subprocess.run(torchrun(workspace, f"{options} --tag together --quiet --no-validate"), check=True, timeout=300)
    together = alone.parent.parent / alone.parent.name.replace("alone", "together") / alone.name
    curves = [load_tensors(fold / LATEST, "")[1]["log"] for fold in (alone, together)]
    for key in ("train_loss", "validation_loss"):
        expected, found = ([row[key] for row in rows] for rows in curves)
        # Relative to 1 where the loss, a difference of terms of that size, passes through 0.
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert (together / "weights_final.safetensors").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_all_processes_stop_together_and_continue(workspace: Path) -> None:
    options = "--model nnunet --epochs 4 --iterations 4 --validation-iterations 1 --tag stopped --quiet --fold 0,1"
    fold = workspace / "models" / "nnunet-stopped__3d_fullres" / "fold_0"
    process = subprocess.Popen(torchrun(workspace, options), stdout=subprocess.PIPE, text=True, start_new_session=True)
    end = time.monotonic() + 200
    while not (fold / LATEST).exists():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.02)
    # As Ctrl-C in a terminal; torchrun then repeats it.
    os.killpg(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=120)
    assert "To resume: torchrun" in out
    assert not (fold / "weights_final.safetensors").exists()
    subprocess.run(torchrun(workspace, options), check=True, timeout=300)
    assert (fold / "weights_final.safetensors").exists()
    assert len(load_tensors(fold / LATEST, "")[1]["log"]) == 4
    assert (fold / "validation" / "metrics.json").exists()
    assert (fold.parent / "fold_1" / "validation" / "metrics.json").exists(), "the next fold follows"
