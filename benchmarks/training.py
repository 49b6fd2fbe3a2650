"""A training iteration of the plain U-Net in comparison with nnU-Net's, data loading included, on the same data.

    python -m benchmarks.training HIPPOCAMPUS --peer VENV [--precision bf16] [--workers 1] [--rounds 1] [--iterations 8]
                                  [--keep FOLDER]

HIPPOCAMPUS is the folder ``Dataset004_Hippocampus`` in nnU-Net v2's raw format, VENV a virtual environment with
nnunetv2, which trains on a CPU in float32. Both sides plan by nnU-Net's rules and run alternately in separate
processes. The figures are wall and CPU time per iteration of all processes of a side, their peak memory (proportional
set size), and the ratios of the medians (Linux only).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import threading
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.common import Row, medians, module_command, show
from benchmarks.loader import Task, clock, environment, prepare_ours, prepare_theirs
from benchmarks.processes import sample
from umseg.training.data.splits import Splits

if TYPE_CHECKING:
    import torch

    from umseg.training.config.training_config import TrainingConfig
    from umseg.training.data.batches import Batch
    from umseg.training.loop.trainer import Trainer

WARM_UP = 3

PEER = """
import json, multiprocessing, os, sys, torch
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from benchmarks.loader import clock
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
folder, configuration, iterations = Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
torch.set_num_threads(os.cpu_count())
plans = json.loads((folder / "nnUNetPlans.json").read_text())
trainer = nnUNetTrainer({**plans, "continue_training": False}, configuration, 0,
                        json.loads((folder / "dataset.json").read_text()), torch.device("cpu"))
trainer.on_train_start()
trainer.on_train_epoch_start()
def step():
    batch = next(trainer.dataloader_train)
    trainer.train_step(batch)
    return tuple(batch["data"].shape)
print(json.dumps(clock(step, iterations, 3)), flush=True)
for worker in multiprocessing.active_children():
    worker.kill()
os._exit(0)
"""


@contextmanager
def training(
    workspace: Path, config: TrainingConfig, device: torch.device, workers: int
) -> Iterator[tuple[Trainer, Generator[Batch, None, None]]]:
    """A trainer on fold 0 as ``umseg train`` sets it up, and the batches of one long epoch."""
    # These imports are local because worker processes import this module but do not train.
    from umseg.models.device import resolve_precision
    from umseg.training.augmentation import find_transforms
    from umseg.training.data.batches import BatchFactory
    from umseg.training.data.loader import load_batches
    from umseg.training.loop.trainer import Trainer
    from umseg.training.loss.segmentation import SegmentationLoss
    from umseg.training.loss.targets import Targets
    from umseg.training.saved.card import model_card
    from umseg.workspace import FoldFolder, Workspace

    card = model_card(Workspace(workspace), config)
    split = Workspace(workspace).load(Splits).folds[0]
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            network=card.build_network(deep_supervision=True),
            config=config,
            batch_size=card.configuration.batch_size,
            loss=SegmentationLoss(Targets.of(card.dataset), card.configuration.batch_dice),
            folder=FoldFolder(Path(folder)),
            device=device,
            precision=resolve_precision(config.precision, device),
            quiet=True,
        )
        factory = BatchFactory(
            Workspace(workspace).preprocessed(config.configuration),
            card.configuration,
            {"train": split.train, "validation": ()},
            config.seed,
            config.augmentation,
            transforms=find_transforms(config.transforms),
        )
        with closing(
            load_batches(factory, first_epoch=0, epochs=1, train=10**6, validation=0, workers=workers, device=device)
        ) as batches:
            yield trainer, batches


def run_ours(workspace: Path, configuration: str, precision: str, workers: int, iterations: int) -> None:
    """Measure umseg with the steps of one long epoch."""
    import torch

    from umseg.training.config.training_config import TrainingConfig

    config = TrainingConfig(configuration=configuration, model="nnunet", precision=precision)
    with training(workspace, config, torch.device("cpu"), workers) as (trainer, batches):

        def step() -> tuple[int, ...]:
            batch = next(batches)
            trainer.step(batch)
            return tuple(batch.data.shape)

        print(json.dumps(clock(step, iterations, WARM_UP)), flush=True)


def run(command: list[str], variables: dict[str, str]) -> dict[str, float]:
    """Run the command of one side, and return the figures that it prints and its peak memory in MB."""
    process = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    done, samples = threading.Event(), [0.0]
    sampler = threading.Thread(target=sample, args=(process.pid, done, samples))
    sampler.start()
    output, errors = process.communicate()
    done.set()
    sampler.join()
    if process.returncode:
        raise SystemExit(f"{' '.join(command[:3])}: {errors[-2000:]}")
    figures: dict[str, float] = json.loads(output.splitlines()[-1])
    return {**figures, "memory": max(samples)}


def main() -> list[Row]:
    """Parse the arguments, run the benchmark and return the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("hippocampus", type=Path)
    parser.add_argument("--peer", type=Path)
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--iterations", type=int, default=8)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--ours", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.ours:
        run_ours(given.hippocampus, given.ours, given.precision, given.workers, given.iterations)
        return []
    with tempfile.TemporaryDirectory() as temporary:
        scratch = (given.keep or Path(temporary)).absolute()
        task = Task(given.hippocampus.absolute(), "3d_fullres")
        prepare_ours(task, scratch)
        prepare_theirs(task, scratch, given.peer.absolute())
        variables = environment(task, scratch, given.workers)
        del variables["OMP_NUM_THREADS"]
        root, count = str(Path(__file__).absolute().parents[1]), str(given.iterations)
        workspace = scratch / "umseg" / task.dataset.name
        ours = module_command("training", str(workspace), "--ours", task.configuration)
        ours += ["--precision", given.precision, "--workers", str(given.workers), "--iterations", count]
        folder = scratch / "preprocessed" / task.dataset.name
        theirs = [str(given.peer.absolute() / "bin" / "python"), "-c", PEER, root, str(folder)]
        results: dict[str, list[dict[str, float]]] = {"umseg": [], "nnU-Net": []}
        for _ in range(given.rounds):
            results["umseg"].append(run(ours, variables))
            results["nnU-Net"].append(run([*theirs, task.configuration, count], variables))
    shapes = {name: runs[0]["shape"] for name, runs in results.items()}
    if shapes["umseg"] != shapes["nnU-Net"]:
        raise SystemExit(f"batches differ: {shapes}")
    keys = ("seconds", "cpu", "memory")
    sides = {name: medians(runs, keys) for name, runs in results.items()}
    sides["ratio"] = {key: sides["umseg"][key] / sides["nnU-Net"][key] for key in keys}
    title = f"{task.dataset.name}, nnunet {given.precision}, batch {shapes['umseg']}, {given.workers} workers"
    return [
        {"data": title, "side": name, "seconds": cost["seconds"], "CPU seconds": cost["cpu"], "MB": cost["memory"]}
        for name, cost in sides.items()
    ]


if __name__ == "__main__":
    show(main())
