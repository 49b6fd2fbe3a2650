"""Equality of training with nnU-Net: losses for the same weights and batches, and distributions of batches.

    python -m benchmarks.parity HIPPOCAMPUS --peer VENV [--steps 12] [--batches 100] [--keep FOLDER]

HIPPOCAMPUS is the folder ``Dataset004_Hippocampus`` in nnU-Net v2's raw format, VENV a virtual environment with
nnunetv2. nnU-Net's trainer makes some steps on a CPU in float32; its initial weights and its batches are then given to
umseg's training step, and both losses are printed step by step. After that ``--batches`` batches of both loaders are
described sample by sample, umseg's with ``--transforms nnunet`` and ``umamba``, and their distributions are compared
with nnU-Net's by the two-sample Kolmogorov-Smirnov test.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from scipy.stats import ks_2samp

from benchmarks.loader import Task, environment, prepare_ours, prepare_theirs, run
from benchmarks.training import training
from umseg.models.convert import convert_state_dict
from umseg.models.device import place
from umseg.training.config.training_config import TrainingConfig
from umseg.training.data.batches import Batch

STYLES = ("umamba", "nnunet")
CONFIGURATION = "3d_fullres"
DESCRIPTIONS = ("first class", "second class", "mean", "std", "minimum", "maximum", "std inside", "steps", "zeros")

DESCRIBE = """
def describe(images, labels):
    import numpy as np
    rows = []
    for (image, *_), label in zip(images, labels):
        inside = image[label > 0]
        rows.append([
            (label == 1).mean(), (label == 2).mean(), image.mean(), image.std(), image.min(), image.max(),
            inside.std() if inside.size else np.nan, np.abs(np.diff(image)).mean(), (image == 0).mean(),
        ])
    return rows
"""
PEER = f"""{DESCRIBE}
import json, multiprocessing, os, sys, numpy as np, torch
from pathlib import Path
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
folder, out, steps, batches = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
torch.set_num_threads(os.cpu_count())
plans = json.loads((folder / "nnUNetPlans.json").read_text())
trainer = nnUNetTrainer({{**plans, "continue_training": False}}, "3d_fullres", 0,
                        json.loads((folder / "dataset.json").read_text()), torch.device("cpu"))
trainer.on_train_start()
trainer.on_train_epoch_start()
found = {{f"weights/{{k}}": v.clone() for k, v in trainer.network.state_dict().items()}}
for step in range(steps):
    batch = next(trainer.dataloader_train)
    found[f"data/{{step}}"] = batch["data"].clone()
    for i, target in enumerate(batch["target"]):
        found[f"target/{{step}}/{{i}}"] = target[:, 0].to(torch.int16).clone()
    found[f"loss/{{step}}"] = torch.tensor(float(trainer.train_step(batch)["loss"]))
rows = []
for _ in range(batches):
    batch = next(trainer.dataloader_train)
    rows += describe(batch["data"].numpy(), batch["target"][0][:, 0].numpy())
found["described"] = np.array(rows)
np.savez(out, **{{k: np.asarray(v) for k, v in found.items()}})
for worker in multiprocessing.active_children():
    worker.kill()
os._exit(0)
"""


def compare_steps(workspace: Path, found: dict[str, np.ndarray], steps: int) -> None:
    """Print the loss of every step on both sides."""
    config = TrainingConfig(configuration=CONFIGURATION, model="nnunet", precision="fp32", transforms="nnunet")
    prefix = "weights/"
    weights = {k.removeprefix(prefix): torch.from_numpy(v) for k, v in found.items() if k.startswith(prefix)}
    cpu = torch.device("cpu")
    with training(workspace, config, cpu, workers=0) as (trainer, _):
        trainer.network.load_state_dict(convert_state_dict(weights, "nnunet"))
        place(trainer.network, cpu)
        print("step   nnU-Net     umseg  difference")
        for step in range(steps):
            targets = sorted(key for key in found if key.startswith(f"target/{step}/"))
            labels = tuple(torch.from_numpy(found[key]) for key in targets)
            loss = float(trainer.step(Batch(torch.from_numpy(found[f"data/{step}"]), labels, ())))
            theirs = float(found[f"loss/{step}"])
            print(f"{step:4}{theirs:10.6f}{loss:10.6f}{loss - theirs:12.1e}")


def compare_batches(workspace: Path, theirs: np.ndarray, batches: int) -> None:
    """Print the means of the properties of a sample on both sides, and the distance between their distributions."""
    space: dict[str, object] = {}
    exec(DESCRIBE, space)  # the text that the other side runs
    print(f"{'of a sample':14}{'nnU-Net':>10}" + "".join(f"{name:>10}{'KS':>7}{'p':>9}" for name in STYLES))
    ours = []
    for style in STYLES:
        config = TrainingConfig(configuration=CONFIGURATION, model="nnunet", precision="fp32", transforms=style)
        with training(workspace, config, torch.device("cpu"), workers=1) as (_, stream):
            made = [next(stream) for _ in range(batches)]
        rows = [space["describe"](b.data.numpy(), b.targets[0].numpy()) for b in made]  # type: ignore[operator]
        ours.append(np.concatenate(rows))
    for i, name in enumerate(DESCRIPTIONS):
        line = f"{name:14}{np.nanmean(theirs[:, i]):10.4f}"
        for table in ours:
            test = ks_2samp(table[:, i], theirs[:, i], nan_policy="omit")
            line += f"{np.nanmean(table[:, i]):10.4f}{test.statistic:7.3f}{test.pvalue:9.1e}"
        print(line)


def main() -> None:
    """Parse the arguments and run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("hippocampus", type=Path)
    parser.add_argument("--peer", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batches", type=int, default=100)
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        scratch = (given.keep or Path(temporary)).absolute()
        task = Task(given.hippocampus.absolute(), CONFIGURATION)
        prepare_ours(task, scratch)
        prepare_theirs(task, scratch, given.peer.absolute())
        variables = environment(task, scratch, 1)
        del variables["OMP_NUM_THREADS"]
        out = Path(temporary) / "peer.npz"
        folder = scratch / "preprocessed" / task.dataset.name
        python = str(given.peer.absolute() / "bin" / "python")
        run([python, "-c", PEER, str(folder), str(out), str(given.steps), str(given.batches)], variables)
        with np.load(out) as stored:
            found = dict(stored)
        workspace = scratch / "umseg" / task.dataset.name
        compare_steps(workspace, found, given.steps)
        compare_batches(workspace, found["described"], given.batches)


if __name__ == "__main__":
    main()
