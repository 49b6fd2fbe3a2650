"""Augmented training batches per second in comparison with nnU-Net's loader, on the same data and number of workers.

    python -m benchmarks.loader HIPPOCAMPUS --peer VENV [--workers 1] [--rounds 3] [--batches 60] [--keep FOLDER]
                                [--transforms umamba|batchgenerators]

HIPPOCAMPUS is the folder ``Dataset004_Hippocampus`` in nnU-Net v2's raw format (3d_fullres), VENV a virtual
environment with nnunetv2. The second data set is generated and consists of RGB pictures of 512x512 pixels (2d).
Both sides plan by nnU-Net's rules, so that patch and batch size agree, use the same transforms unless ``--transforms``
names others, and run alternately in separate processes; the batches are discarded. The benchmark prints batches per
second, the CPU time per batch of all processes of a side (Linux only; it depends less on other load than wall time),
and the ratios of the medians. ``--keep`` keeps the preprocessed data for the next run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.processes import tree

WARM_UP = 30
PICTURES, SIDE = 24, 512

# nnU-Net's trainer builds the loader from its plan; nothing is trained.
PEER = """
import json, multiprocessing, os, sys, torch
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from benchmarks.loader import clock
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
folder, configuration, batches = Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
torch.set_num_threads(1)
plans = json.loads((folder / "nnUNetPlans.json").read_text())
trainer = nnUNetTrainer({**plans, "continue_training": False}, configuration, 0,
                        json.loads((folder / "dataset.json").read_text()), torch.device("cpu"))
trainer.initialize()
loader, _ = trainer.get_dataloaders()
print(json.dumps(clock(lambda: tuple(next(loader)["data"].shape), batches)), flush=True)
for worker in multiprocessing.active_children():
    worker.kill()
os._exit(0)
"""


@dataclass(frozen=True)
class Task:
    """A data set in raw format, and the configuration whose batches are loaded."""

    dataset: Path
    configuration: str


def clock(advance, batches: int, warm_up: int = WARM_UP) -> dict[str, object]:  # type: ignore[no-untyped-def]
    """Wall time and CPU time per batch in seconds, after a warm-up; ``advance`` takes a batch and returns its shape."""
    import time

    for _ in range(warm_up):
        advance()
    start, begun = time.perf_counter(), cpu_seconds()
    shapes = {advance() for _ in range(batches)}
    (shape,) = shapes
    seconds, cpu = time.perf_counter() - start, cpu_seconds() - begun
    return {"shape": shape, "seconds": seconds / batches, "cpu": cpu / batches}


def cpu_seconds() -> float:
    """CPU time of this process and its descendants in seconds."""
    ticks = 0
    for pid in tree(os.getpid()):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def write_pictures(folder: Path) -> None:
    """Write pictures of bright discs of two classes on coloured noise, as PNG."""
    import SimpleITK as sitk

    rng = np.random.default_rng(0)
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for number in range(PICTURES):
        image = rng.normal(90, 20, (SIDE, SIDE, 3))
        label = np.zeros((SIDE, SIDE), dtype=np.uint8)
        for _ in range(20):
            y, x, radius = (*rng.uniform(0, SIDE, 2), rng.uniform(10, 50))
            inside = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
            label[inside] = rng.integers(1, 3)
            image[inside] += rng.uniform(20, 80, 3)
        case = f"picture_{number:03}"
        picture = sitk.GetImageFromArray(image.clip(0, 255).astype(np.uint8), isVector=True)
        sitk.WriteImage(picture, folder / "imagesTr" / f"{case}_0000.png")
        sitk.WriteImage(sitk.GetImageFromArray(label), folder / "labelsTr" / f"{case}.png")
    description = {
        "channel_names": {"0": "R", "1": "G", "2": "B"},
        "labels": {"background": 0, "small": 1, "large": 2},
        "numTraining": PICTURES,
        "file_ending": ".png",
    }
    (folder / "dataset.json").write_text(json.dumps(description))


def prepare_ours(task: Task, scratch: Path) -> None:
    """Plan and preprocess with umseg, unless an earlier run has done it."""
    from umseg.workflows.plan import plan_dataset

    if not (scratch / "umseg" / task.dataset.name / "preprocessed" / task.configuration).is_dir():
        plan_dataset(
            task.dataset, scratch / "umseg", preset="nnunet", configurations=[task.configuration], workers=2, quiet=True
        )


def prepare_theirs(task: Task, scratch: Path, peer: Path) -> None:
    """Plan and preprocess with nnU-Net's commands, unless an earlier run has done it."""
    if (scratch / "preprocessed" / task.dataset.name / f"nnUNetPlans_{task.configuration}").is_dir():
        return
    number = str(int(task.dataset.name[len("Dataset") :].split("_")[0]))
    command = [str(peer / "bin" / "nnUNetv2_plan_and_preprocess"), "-d", number, "-c", task.configuration]
    run([*command, "-np", "2", "-npfp", "2"], environment(task, scratch, 1))


def environment(task: Task, scratch: Path, workers: int) -> dict[str, str]:
    """The environment variables of nnU-Net, with one thread per process as in umseg."""
    return {
        **os.environ,
        "nnUNet_raw": str(task.dataset.parent),
        "nnUNet_preprocessed": str(scratch / "preprocessed"),
        "nnUNet_results": str(scratch / "results"),
        "nnUNet_n_proc_DA": str(workers),
        "nnUNet_compile": "f",
        "OMP_NUM_THREADS": "1",
    }


def run(command: list[str], variables: dict[str, str] | None = None) -> str:
    """Run a command and return its standard output."""
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:3])}: {done.stderr[-2000:]}")
    return done.stdout


def run_ours(workspace: Path, configuration: str, workers: int, batches: int, transforms: str) -> None:
    """Measure umseg with the batches of one long epoch."""
    import torch

    from umseg.planning import Plan
    from umseg.preprocess import CaseStore
    from umseg.training.augmentation import find_transforms
    from umseg.training.data.batches import BatchFactory, Phase
    from umseg.training.data.loader import load_batches

    torch.set_num_threads(1)
    plan = Plan.load(workspace / "plan.json", "")
    store = CaseStore(workspace / "preprocessed" / configuration)
    chosen = plan.configuration(configuration, workspace / "plan.json")
    cases: dict[Phase, tuple[str, ...]] = {"train": store.case_ids(), "validation": ()}
    factory = BatchFactory(store.folder, chosen, cases, 0, transforms=find_transforms(transforms))
    loader = load_batches(
        factory, first_epoch=0, epochs=1, train=10**6, validation=0, workers=workers, device=torch.device("cpu")
    )
    print(json.dumps(clock(lambda: tuple(next(loader).data.shape), batches)), flush=True)
    loader.close()


def compare(task: Task, scratch: Path, peer: Path, workers: int, rounds: int, batches: int, transforms: str) -> None:
    """Print a table for one data set."""
    prepare_ours(task, scratch)
    prepare_theirs(task, scratch, peer)
    root = str(Path(__file__).absolute().parents[1])
    workspace = scratch / "umseg" / task.dataset.name
    ours = [sys.executable, "-m", "benchmarks.loader", str(workspace), "--ours", task.configuration]
    ours += ["--workers", str(workers), "--transforms", transforms]
    folder = scratch / "preprocessed" / task.dataset.name
    theirs = [str(peer / "bin" / "python"), "-c", PEER, root, str(folder), task.configuration]
    results: dict[str, list[dict[str, float]]] = {"umseg": [], "nnU-Net": []}
    for _ in range(rounds):
        results["umseg"].append(json.loads(run([*ours, "--batches", str(batches)]).splitlines()[-1]))
        output = run([*theirs, str(batches)], environment(task, scratch, workers))
        results["nnU-Net"].append(json.loads(output.splitlines()[-1]))
    shapes = {name: results[name][0]["shape"] for name in results}
    if shapes["umseg"] != shapes["nnU-Net"]:
        raise SystemExit(f"batches differ: {shapes}")
    print(f"{task.dataset.name} {task.configuration}, batch {shapes['umseg']}, {workers} workers, "
          f"--transforms {transforms}, median of {rounds}")  # fmt: skip
    median = {
        name: {what: statistics.median(cost[what] for cost in costs) for what in ("seconds", "cpu")}
        for name, costs in results.items()
    }
    for name, cost in median.items():
        print(f"  {name:8} {1 / cost['seconds']:7.2f} batches/s   {1e3 * cost['cpu']:7.0f} ms CPU per batch")
    mine, other = median["umseg"], median["nnU-Net"]
    print(f"  ratio    {other['seconds'] / mine['seconds']:7.2f}             {other['cpu'] / mine['cpu']:7.2f}")


def main() -> None:
    """Parse the arguments and run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("hippocampus", type=Path)
    parser.add_argument("--peer", type=Path)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", type=int, default=60)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--transforms", default="nnunet", help="transforms by the names of umseg train")
    parser.add_argument("--ours", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.ours:
        run_ours(arguments.hippocampus, arguments.ours, arguments.workers, arguments.batches, arguments.transforms)
        return
    with tempfile.TemporaryDirectory() as temporary:
        scratch = (arguments.keep or Path(temporary)).absolute()
        pictures = scratch / "raw" / "Dataset901_Pictures"
        if not pictures.is_dir():
            write_pictures(pictures)
        for task in (Task(arguments.hippocampus.absolute(), "3d_fullres"), Task(pictures, "2d")):
            compare(
                task,
                scratch,
                arguments.peer.absolute(),
                arguments.workers,
                arguments.rounds,
                arguments.batches,
                arguments.transforms,
            )


if __name__ == "__main__":
    main()
