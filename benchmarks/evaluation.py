"""Evaluation in comparison with the package surface-distance, on the same label maps and with the same reader.

    python -m benchmarks.evaluation --peer VENV --scratch DIR [--cases 3] [--size 120 512 512] [--repeats 1]

The benchmark scores generated label maps of 512x512x120 voxels of 0.8x0.8x2.5 mm with 13 classes, once with the default
metrics (DSC and NSD at 1 mm) and once with HD95 and ASSD as well. VENV is a virtual environment with surface-distance;
only that package is taken from it, so that both sides run on the same Python, numpy and scipy and read files with
umseg's reader. The two sides run alternately in separate processes, imports included. The figures are wall time, CPU
time and peak memory (proportional set size; Linux only), the ratios of the medians, and the largest difference between
the scores.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from benchmarks.common import Row, module_command, show
from benchmarks.preprocess import balls
from benchmarks.processes import Cost, comparison, measure

SPACING = (2.5, 0.8, 0.8)
CLASSES = 13
TOLERANCE = 1.0
METRICS = {"DSC, NSD": ["dsc", "nsd"], "DSC, NSD, HD95, ASSD": ["dsc", "nsd", "hd95", "assd"]}


def generate(folder: Path, cases: int, shape: tuple[int, int, int]) -> tuple[Path, Path]:
    """Write references, and predictions that are shifted and have a false piece of every third class.

    Files of an earlier run are used again.
    """
    predictions, references = folder / "predictions", folder / "references"
    if len(list(references.glob("*.nii.gz"))) == cases:
        return predictions, references
    for number in range(cases):
        draw = np.random.default_rng(number)
        reference = balls(shape, CLASSES, draw)
        prediction = np.roll(reference, draw.integers(-3, 4, size=3), axis=(0, 1, 2))
        stray = balls(shape, CLASSES, draw)
        false_piece = (prediction == 0) & (stray > 0) & (stray % 3 == 0)
        prediction[false_piece] = stray[false_piece]
        for target, array in ((predictions, prediction), (references, reference)):
            target.mkdir(parents=True, exist_ok=True)
            image = sitk.GetImageFromArray(array)
            image.SetSpacing(SPACING[::-1])
            sitk.WriteImage(image, str(target / f"ct_{number}.nii.gz"), True)
    return predictions, references


def run_ours(predictions: Path, references: Path, metrics: list[str], output: Path) -> None:
    """Run the part of umseg that is measured."""
    from umseg.evaluation import Metrics, evaluate_folder

    labels = {str(value): value for value in range(1, CLASSES + 1)}
    result = evaluate_folder(predictions, references, metrics=metrics, labels=labels, tolerance=TOLERANCE, quiet=True)
    assert isinstance(result, Metrics)
    scores = {case.case: {name: entry.scores for name, entry in case.classes.items()} for case in result.cases}
    output.write_text(json.dumps(scores))


def run_theirs(predictions: Path, references: Path, metrics: list[str], output: Path, packages: str) -> None:
    """Run the part of surface-distance that is measured."""
    # The folder is appended at the end, so that numpy and scipy are those of this environment.
    sys.path.append(packages)
    import surface_distance as peer

    from umseg.dataset.io.images import read_label

    functions = {
        "nsd": lambda distances: float(peer.compute_surface_dice_at_tolerance(distances, TOLERANCE)),
        "hd95": lambda distances: float(peer.compute_robust_hausdorff(distances, 95)),
        "assd": lambda distances: float(sum(peer.compute_average_surface_distance(distances)) / 2),
    }
    scores: dict[str, dict[str, dict[str, float]]] = {}
    for path in sorted(references.glob("*.nii.gz")):
        reference, prediction = read_label(path), read_label(predictions / path.name)
        case = scores.setdefault(path.name.removesuffix(".nii.gz"), {})
        for value in range(1, CLASSES + 1):
            masks = reference.array == value, prediction.array == value
            distances = peer.compute_surface_distances(*masks, reference.spacing)
            case[str(value)] = {"dsc": float(peer.compute_dice_coefficient(*masks))}
            case[str(value)] |= {key: functions[key](distances) for key in metrics if key != "dsc"}
    output.write_text(json.dumps(scores))


def timed(command: list[str]) -> tuple[Cost, float]:
    """The cost of a command, and its CPU time in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    cost = measure([command], dict(os.environ))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return cost, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def largest_difference(first: Path, second: Path) -> float:
    """The largest difference between the scores of two files; scores that are equal or both NaN do not differ."""
    sides = [
        [score for case in json.loads(path.read_text()).values() for entry in case.values() for score in entry.values()]
        for path in (first, second)
    ]
    if len(sides[0]) != len(sides[1]):
        raise SystemExit("the two sides have different numbers of scores")
    pairs = zip(*sides, strict=True)
    return max(0.0 if a == b or (np.isnan(a) and np.isnan(b)) else abs(a - b) for a, b in pairs)


def compare(title: str, metrics: list[str], folders: tuple[Path, Path], options: argparse.Namespace) -> list[Row]:
    """The comparison for one choice of metrics, with a row for each side and one for their ratio."""
    find = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = subprocess.check_output([options.peer / "bin" / "python", "-c", find], text=True).strip()
    costs: dict[str, list[Cost]] = {"umseg": [], "peer": []}
    seconds: dict[str, list[float]] = {"umseg": [], "peer": []}
    outputs = {side: options.scratch / f"{side}_{len(metrics)}.json" for side in costs}
    for _ in range(options.repeats):
        for side, output in outputs.items():
            arguments = [str(part) for part in (*folders, ",".join(metrics), output)]
            extra = [packages] if side == "peer" else []
            cost, cpu = timed(module_command("evaluation", f"--run-{side}", *arguments, *extra))
            costs[side].append(cost)
            seconds[side].append(cpu)
    mine, other = (statistics.median(values) for values in seconds.values())
    difference = f"{largest_difference(*outputs.values()):.1e}"
    rows = comparison(title, costs)
    return [
        {**row, "CPU seconds": cpu, "largest difference": difference}
        for row, cpu in zip(rows, (mine, other, mine / other), strict=True)
    ]


def main() -> list[Row]:
    """Parse the arguments, run the benchmark and return the figures."""
    if sys.argv[1:2] in (["--run-umseg"], ["--run-peer"]):
        predictions, references, metrics, output = sys.argv[2:6]
        arguments = Path(predictions), Path(references), metrics.split(","), Path(output)
        if sys.argv[1] == "--run-umseg":
            run_ours(*arguments)
        else:
            run_theirs(*arguments, sys.argv[6])
        return []
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--cases", type=int, default=3)
    parser.add_argument("--size", type=int, nargs=3, default=(120, 512, 512), metavar=("Z", "Y", "X"))
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    shape = tuple(options.size)
    folders = generate(options.scratch.absolute() / "x".join(map(str, (options.cases, *shape))), options.cases, shape)
    size = f"{options.cases} cases of {'x'.join(map(str, reversed(shape)))}, {CLASSES} classes"
    rows = [compare(f"{size}: {title}", metrics, folders, options) for title, metrics in METRICS.items()]
    return [row for part in rows for row in part]


if __name__ == "__main__":
    show(main())
