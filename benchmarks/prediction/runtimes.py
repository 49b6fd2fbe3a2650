"""Prediction of a folder by torch and by onnxruntime, with the same weights, start-up included.

    python -m benchmarks.prediction.runtimes MODEL IMAGES --scratch FOLDER [--fold 0] [--repeats 3]
                                             [--python VENV/bin/python]

MODEL is a trained model folder, IMAGES a folder of .nii.gz images. All sides run alternately, in separate processes and
on the CPU: torch in both number formats, onnxruntime with the same pre- and post-processing, and the exported program,
which needs numpy and onnxruntime only and is started once per image; ``--python`` runs it in another environment.
Label maps are compared with those of torch in float32.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.common import Row, show
from benchmarks.prediction.nnunet import equal_voxels
from benchmarks.processes import cpu_of_children, measure

UMSEG = [sys.executable, "-m", "umseg"]
Commands = list[list[str]]


def sides(arguments: argparse.Namespace) -> dict[str, Commands]:
    """The commands of each side; its label maps are written to the folder of its name."""
    exported = arguments.scratch / "exported"
    words = ["export", arguments.model, exported, "--onnx", "--folds", arguments.fold, "--overwrite"]
    subprocess.run([*UMSEG, *map(str, words)], check=True)
    images, found = arguments.images, {}
    for side, model, options in (
        ("torch fp32", arguments.model, ["--precision", "fp32"]),
        ("torch bf16", arguments.model, ["--precision", "bf16"]),
        ("onnxruntime", exported, []),
    ):
        places = ["--model", model, "--folds", arguments.fold, "--input", images, "--output", arguments.scratch / side]
        command = [*UMSEG, "predict", *map(str, places), *options]
        found[side] = [[*command, "--device", "cpu", "--no-resume", "--overwrite", "--quiet"]]
    alone = arguments.scratch / "program"
    alone.mkdir(exist_ok=True)
    program = [str(arguments.python), str(exported / "predict.py"), "--threads", os.environ.get("OMP_NUM_THREADS", "0")]
    found["program"] = [
        [*program, str(path), "--output", str(alone / path.name.replace("_0000.nii.gz", ".nii.gz"))]
        for path in sorted(images.glob("*.nii.gz"))
    ]
    return found


def cost_of(commands: Commands) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds, and MB of memory."""
    before = cpu_of_children()
    cost = measure(commands, dict(os.environ))
    return cost.seconds, cpu_of_children() - before, cost.megabytes


def main() -> list[Row]:
    """Parse the arguments, run the benchmark and return its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--fold", default="0")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--python", type=Path, default=Path(sys.executable))
    arguments = parser.parse_args()
    arguments.scratch.mkdir(parents=True, exist_ok=True)
    commands = sides(arguments)
    runs: dict[str, list[tuple[float, float, float]]] = {side: [] for side in commands}
    for _ in range(arguments.repeats):
        for side, several in commands.items():
            runs[side].append(cost_of(several))
    rows: list[Row] = []
    reference = statistics.median(cpu for _, cpu, _ in runs["torch bf16"])
    for side, costs in runs.items():
        wall, cpu, memory = (statistics.median(column) for column in zip(*costs, strict=True))
        equal, count = equal_voxels(arguments.scratch / side, arguments.scratch / "torch fp32")
        rows.append(
            {
                "side": side,
                "seconds": wall,
                "CPU seconds": cpu,
                "ratio to torch bf16": cpu / reference,
                "MB": memory,
                "equal voxels": f"{100 * equal:.5f} % of {count} label maps",
            }
        )
    return rows


if __name__ == "__main__":
    show(main())
