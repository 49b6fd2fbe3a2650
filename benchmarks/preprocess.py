"""Preprocessing in comparison with nnU-Net's: the same cases, the same plan (nnU-Net's), the same number of workers.

    python -m benchmarks.preprocess --peer VENV --scratch DIR [--dataset DATASET] [--workers 1] [--repeats 3]
    python -m benchmarks.preprocess --large --scratch DIR

The first command compares both programs on DATASET, a folder ``DatasetNNN_Name`` in nnU-Net v2's raw format, with
configurations 2d and 3d_fullres. Without DATASET it uses a generated CT-like set: 6 volumes of 512x512x120 voxels of
0.8x0.8x2.5 mm with 14 classes, resampled to 1.0x1.0x2.5 mm (--cases and --size make it smaller). VENV is a virtual
environment with nnunetv2, which measures and plans beforehand, untimed. The two sides run alternately in separate
processes and write to DIR. The figures are wall time and peak memory of all processes together (proportional set size;
Linux only), and the ratios of the medians.

The second command measures umseg alone on one CT of 512x512x1000 voxels with 100 classes, once resampled to a finer
spacing and once at its own spacing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from benchmarks.common import Row, module_command, show
from benchmarks.processes import Cost, comparison, measure

SPACING, TARGET = (2.5, 0.8, 0.8), (2.5, 1.0, 1.0)
LARGE_SHAPE, LARGE_SPACING, LARGE_TARGET = (1000, 512, 512), (1.0, 0.8, 0.8), (1.0, 0.7, 0.7)
PEER_PLAN, OWN_PLAN = "nnUNetPlans.json", "plan.json"


def generate(folder: Path, cases: int, shape: tuple[int, int, int], spacing: tuple[float, ...], classes: int) -> Path:
    """Write CT-like volumes of smooth tissue with noise and a ball of every class, unless they exist already."""
    if (folder / "dataset.json").exists():
        return folder
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(cases):
        draw = np.random.default_rng(number)
        label = balls(shape, classes, draw)
        image = np.empty(shape, np.int16)
        for z in range(shape[0]):
            rows, columns = (np.sin(np.linspace(0, 9, n) + z / 50) for n in shape[1:])
            tissue = 200 * np.outer(rows, columns) + 5 * label[z] + 40
            image[z] = draw.normal(tissue, 20)
        for array, path in ((image, f"imagesTr/ct_{number}_0000"), (label, f"labelsTr/ct_{number}")):
            volume = sitk.GetImageFromArray(array)
            volume.SetSpacing(spacing[::-1])
            sitk.WriteImage(volume, str(folder / f"{path}.nii.gz"), True)
    content = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, **{f"organ {value}": value for value in range(1, classes + 1)}},
        "numTraining": cases,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def balls(shape: tuple[int, int, int], classes: int, draw: np.random.Generator) -> np.ndarray:
    """A label map with one ellipsoid per class, each clipped to the volume."""
    label = np.zeros(shape, np.uint8)
    for value in range(1, classes + 1):
        centre = [int(draw.integers(n)) for n in shape]
        radii = [max(2, int(n * draw.uniform(0.04, 0.12))) for n in shape]
        part = tuple(slice(max(c - r, 0), min(c + r, n)) for c, r, n in zip(centre, radii, shape, strict=True))
        grid = np.ogrid[part]
        inside = sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=True)) < 1
        label[part][inside] = value
    return label


def plan_with_peer(dataset: Path, peer: Path, environment: dict[str, str], target: tuple[float, ...] | None) -> Path:
    """Make nnU-Net measure and plan, and return the file of its plans.

    A target spacing, if given, replaces that of 3d_fullres.
    """
    number = str(int(dataset.name[len("Dataset") :].split("_")[0]))
    for command in (
        ["nnUNetv2_extract_fingerprint", "-d", number, "-np", "2"],
        ["nnUNetv2_plan_experiment", "-d", number],
    ):
        subprocess.run(
            [peer / "bin" / command[0], *command[1:]], env=environment, check=True, stdout=subprocess.DEVNULL
        )
    path = Path(environment["nnUNet_preprocessed"]) / dataset.name / PEER_PLAN
    if target is not None:
        plans = json.loads(path.read_text())
        plans["configurations"]["3d_fullres"]["spacing"] = list(target)
        path.write_text(json.dumps(plans))
    return path


def run_ours(dataset: Path, plans: Path, configurations: list[str], folder: Path, workers: int) -> None:
    """Run the part of umseg that is measured."""
    from umseg.dataset import load_dataset
    from umseg.dataset.check.digest import case_digest
    from umseg.planning import Plan
    from umseg.planning.foreign import read_foreign_plan
    from umseg.preprocess import case_origins, preprocess_dataset

    loaded = load_dataset(dataset)
    plan = Plan.load(plans, "") if plans.name == OWN_PLAN else read_foreign_plan(plans)
    digests = [case_digest(case) for case in loaded.cases]
    origins = {name: case_origins(loaded, digests, plan, plan.configuration(name)) for name in configurations}
    folders = {name: folder / name for name in configurations}
    preprocess_dataset(loaded, plan, folders, origins, workers=workers, quiet=True)


def ours(dataset: Path, plans: Path, configurations: list[str], folder: Path, workers: int) -> list[str]:
    """The command that runs ``run_ours``."""
    arguments = [str(part) for part in (dataset, plans, ",".join(configurations), folder, workers)]
    return module_command("preprocess", "--ours", *arguments)


def compare(
    dataset: Path, configurations: list[str], target: tuple[float, ...] | None, options: argparse.Namespace
) -> list[Row]:
    """The figures for one data set."""
    number = str(int(dataset.name[len("Dataset") :].split("_")[0]))
    costs: dict[str, list[Cost]] = {"umseg": [], "nnU-Net": []}
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        environment = {**os.environ, "nnUNet_raw": str(dataset.parent)}
        environment |= {name: f"{scratch}/{name}" for name in ("nnUNet_preprocessed", "nnUNet_results")}
        plans = plan_with_peer(dataset, options.peer, environment, target)
        theirs = [str(options.peer / "bin" / "nnUNetv2_preprocess"), "-d", number, "-c", *configurations]
        theirs += ["-np", *[str(options.workers)] * len(configurations)]
        for _ in range(options.repeats):
            stores = Path(scratch) / "umseg"
            command = ours(dataset, plans, configurations, stores, options.workers)
            costs["umseg"].append(measure([command], dict(os.environ)))
            shutil.rmtree(stores)
            costs["nnU-Net"].append(measure([theirs], environment))
            for folder in plans.parent.glob("nnUNetPlans_*"):
                shutil.rmtree(folder)
    names = ", ".join(configurations)
    return comparison(f"{dataset.name} ({names}), {options.workers} workers, median of {options.repeats}", costs)


def measure_large(scratch: Path) -> list[Row]:
    """The time and memory that one large CT takes."""
    from umseg.dataset import load_dataset
    from umseg.planning import Overrides, extract_fingerprint, make_plan

    dataset = generate(scratch / "Dataset982_LargeCT", 1, LARGE_SHAPE, LARGE_SPACING, 100)
    loaded = load_dataset(dataset)
    fingerprint = extract_fingerprint(loaded, quiet=True)
    rows: list[Row] = []
    for target in (LARGE_SPACING, LARGE_TARGET):
        plan = scratch / OWN_PLAN
        make_plan(fingerprint, loaded.description, overrides=Overrides(spacing=target)).save(plan)
        with tempfile.TemporaryDirectory(dir=scratch) as stores:
            cost = measure([ours(dataset, plan, ["3d_fullres"], Path(stores), 0)], dict(os.environ))
        shape = "x".join(map(str, reversed(LARGE_SHAPE)))
        name = f"{shape}, 100 classes, to {target} mm"
        rows.append({"data": name, "side": "umseg", "seconds": cost.seconds, "MB": cost.megabytes})
    return rows


def main() -> list[Row]:
    """Parse the arguments, run the benchmark and return the figures."""
    if sys.argv[1:2] == ["--ours"]:
        dataset, plans, configurations, folder, workers = sys.argv[2:]
        run_ours(Path(dataset), Path(plans), configurations.split(","), Path(folder), int(workers))
        return []
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--peer", type=Path)
    parser.add_argument("--dataset", type=Path)
    parser.add_argument("--cases", type=int, default=6)
    parser.add_argument("--size", type=int, nargs=3, default=(120, 512, 512), metavar=("Z", "Y", "X"))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--large", action="store_true")
    options = parser.parse_args()
    options.scratch.mkdir(parents=True, exist_ok=True)
    if options.large:
        return measure_large(options.scratch)
    if options.dataset is not None:
        return compare(options.dataset.absolute(), ["2d", "3d_fullres"], None, options)
    shape = tuple(options.size)
    folder = options.scratch.absolute() / "x".join(map(str, (options.cases, *shape)))
    generated = generate(folder / "Dataset981_GeneratedCT", options.cases, shape, SPACING, 14)
    return compare(generated, ["3d_fullres"], TARGET, options)


if __name__ == "__main__":
    show(main())
