"""Evaluation on one core in comparison with other packages: arrays in memory, files, many classes, many instances.

    python -m benchmarks run evaluate -- --peer VENV --scratch DIR [--atlas FILE] [--parts organs,files,...]

The parts are:

- ``organs``: thirteen generated organs in 512x512x120 voxels of 0.8x0.8x2.5 mm in memory, against surface-distance (DSC
  and NSD at 1 mm) and against panoptica and MONAI (HD95 and ASSD as well).
- ``files``: ten such cases as ``.nii.gz``, against surface-distance with umseg's reader, imports included.
- ``classes``: the 724 classes of a brain atlas (``--atlas``, inia19-NeuroMaps.nii.gz) against itself, moved by a voxel.
- ``instances``: 20,000 cells in 5,000x5,000 pixels, and 50,000, against matchers by scikit-image's functions.

VENV is a virtual environment with surface-distance, panoptica, monai and scikit-image; only these packages are taken
from it, so that all sides run on the same Python, numpy and scipy. Every side runs in a process of its own, on one
thread.
``seconds`` is CPU time, which other programs on the machine hardly change: the median of a side's calls without imports
and compilation (``files``: of its processes, with everything);
``MB`` the peak of its process, imports and data included; ``times umseg`` the ratio of the seconds. ``largest
difference`` is that of the scores from umseg's: packages that define surfaces differently differ (docs/metrics.md).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import Row, module_command, show
from benchmarks.evaluating.cells import MATCHERS, cells
from benchmarks.evaluating.organs import NAMES, SPACING, abdomen
from benchmarks.evaluating.sides import SIDES, TOLERANCE, Scores
from benchmarks.processes import measure

CHEAP, ALL = ("dsc", "nsd"), ("dsc", "nsd", "hd95", "assd")
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}


def run_side(side: str, data: Path, metrics: Sequence[str], repeats: int) -> dict[str, Any]:
    """Score arrays in this process; the first call, on a corner of them, imports and compiles."""
    with np.load(data) as arrays:
        prediction, reference, spacing = arrays["prediction"], arrays["reference"], arrays["spacing"].tolist()
    classes = int(max(prediction.max(), reference.max()))
    corner = np.zeros((8, 24, 24), reference.dtype)
    corner.reshape(-1)[: 8 * classes] = np.repeat(np.arange(1, classes + 1), 8)[: corner.size]
    SIDES[side](corner, corner, spacing, classes, metrics)
    scores: Scores = {}
    times = [
        _seconds(lambda: scores.update(SIDES[side](prediction, reference, spacing, classes, metrics)))
        for _ in range(repeats)
    ]
    return {"seconds": statistics.median(times), "MB": _peak(), "scores": scores}


def run_files(side: str, folder: Path, metrics: Sequence[str]) -> dict[str, Any]:
    """Score every file of a folder: umseg's whole evaluation, or a peer on arrays from umseg's reader."""
    predictions, references = folder / "predictions", folder / "references"
    if side == "umseg":
        from umseg.evaluation import Metrics, evaluate_folder

        labels = {str(value): value for value in range(1, len(NAMES) + 1)}
        result = evaluate_folder(
            predictions, references, metrics=metrics, labels=labels, tolerance=TOLERANCE, quiet=True
        )
        assert isinstance(result, Metrics)
        found = [(case.case, name, entry.scores) for case in result.cases for name, entry in case.classes.items()]
        return {"scores": {f"{case} {name}": scores for case, name, scores in found}}
    from umseg.dataset.io.images import read_label

    scores: Scores = {}
    for path in sorted(references.glob("*.nii.gz")):
        reference, prediction = read_label(path), read_label(predictions / path.name)
        case = SIDES[side](prediction.array, reference.array, reference.spacing, len(NAMES), metrics)
        scores |= {f"{path.name.removesuffix('.nii.gz')} {name}": entry for name, entry in case.items()}
    return {"scores": scores}


def run_instances(side: str, data: Path, repeats: int) -> dict[str, Any]:
    """Match the objects of two instance maps in this process, at an intersection over union of 0.5."""
    from umseg.evaluation.metrics.objects import score_objects

    def score(prediction: np.ndarray, reference: np.ndarray) -> tuple[int, int, int]:
        if side in MATCHERS:
            return MATCHERS[side](prediction, reference, 0.5)
        (scores,) = score_objects(prediction, reference, [0.5])
        return scores.TP, scores.FP, scores.FN

    with np.load(data) as arrays:
        prediction, reference = arrays["prediction"], arrays["reference"]
    score(prediction[:200, :200], reference[:200, :200])
    counts: dict[str, float] = {}
    times = [
        _seconds(lambda: counts.update(zip(("TP", "FP", "FN"), score(prediction, reference), strict=True)))
        for _ in range(repeats)
    ]
    return {"seconds": statistics.median(times), "MB": _peak(), "scores": {"objects": counts}}


def compare_in_memory(options: argparse.Namespace) -> list[Row]:
    """Thirteen organs in memory."""
    data = options.scratch / "organs.npz"
    if not data.exists():
        prediction, reference = abdomen((120, 512, 512), seed=0)
        np.savez_compressed(data, prediction=prediction, reference=reference, spacing=SPACING)
    rows: list[Row] = []
    for title, metrics, peers in (
        ("13 organs: DSC, NSD", CHEAP, ["surface-distance"]),
        ("13 organs: DSC, NSD, HD95, ASSD", ALL, ["surface-distance", "panoptica", "MONAI"]),
    ):
        runs = {side: _call(options, side, "organs", data, metrics) for side in ("umseg", *peers)}
        rows += _rows(title, runs)
    return rows


def compare_files(options: argparse.Namespace) -> list[Row]:
    """Ten cases of thirteen organs, from file to file."""
    folder = options.scratch / "files"
    if not folder.exists():
        _write_files(folder, cases=10)
    rows: list[Row] = []
    for title, metrics in (("10 cases, files: DSC, NSD", CHEAP), ("10 cases, files: DSC, NSD, HD95, ASSD", ALL)):
        runs = {side: _call(options, side, "files", folder, metrics) for side in ("umseg", "surface-distance")}
        rows += _rows(title, runs)
    return rows


def compare_classes(options: argparse.Namespace) -> list[Row]:
    """The classes of an atlas, moved by a voxel along each axis."""
    if options.atlas is None:
        return []
    from umseg.dataset.io.images import read_label

    atlas = read_label(options.atlas)
    values = np.unique(atlas.array)
    reference = atlas.array.astype(np.int16)
    prediction = np.zeros_like(reference)
    prediction[1:, 1:, 1:] = reference[:-1, :-1, :-1]
    data = options.scratch / "atlas.npz"
    np.savez_compressed(data, prediction=prediction, reference=reference, spacing=atlas.spacing)
    runs = {"umseg": _call(options, "umseg", "organs", data, ALL)}
    return _rows(f"{len(values) - 1} classes, values to {values.max()}: DSC, NSD, HD95, ASSD", runs)


def compare_instances(options: argparse.Namespace) -> list[Row]:
    """Cells in an image of 25 megapixels."""
    rows: list[Row] = []
    for count in (20_000, 50_000):
        data = options.scratch / f"cells_{count}.npz"
        if not data.exists():
            prediction, reference = cells(5000, count, seed=0)
            np.savez_compressed(data, prediction=prediction, reference=reference)
        runs = {side: _call(options, side, "instances", data, ()) for side in ("umseg", *MATCHERS)}
        rows += _rows(f"5,000x5,000, {count:,} cells: F1", runs)
    return rows


PARTS = {
    "organs": compare_in_memory,
    "files": compare_files,
    "classes": compare_classes,
    "instances": compare_instances,
}


def _write_files(folder: Path, cases: int) -> None:
    import SimpleITK as sitk

    for number in range(cases):
        for side, array in zip(("predictions", "references"), abdomen((120, 512, 512), seed=number), strict=True):
            (folder / side).mkdir(parents=True, exist_ok=True)
            image = sitk.GetImageFromArray(array.astype(np.uint8))
            image.SetSpacing(SPACING[::-1])
            sitk.WriteImage(image, str(folder / side / f"ct_{number}.nii.gz"), True)


def _call(options: argparse.Namespace, side: str, part: str, data: Path, metrics: Sequence[str]) -> dict[str, Any]:
    """Run one side in a process of its own, several times where the processes are what is measured."""
    output = options.scratch / f"{side}_{part}.json"
    repeats = options.repeats if side == "umseg" else 1
    arguments = [side, part, str(data), ",".join(metrics), str(repeats), str(output), _packages(options.peer)]
    command = module_command("evaluate", "--run", *arguments)
    if part != "files":
        subprocess.run(command, env=os.environ | _ONE_THREAD, check=True, stdout=subprocess.DEVNULL)
        return dict(json.loads(output.read_text()))
    times, peaks = [], []
    for _ in range(repeats):
        before = os.times()
        peaks.append(measure([command], os.environ | _ONE_THREAD).megabytes)
        after = os.times()
        times.append(after.children_user + after.children_system - before.children_user - before.children_system)
    return {**json.loads(output.read_text()), "seconds": statistics.median(times), "MB": statistics.median(peaks)}


def _seconds(function: Callable[[], object]) -> float:
    """CPU time of a call."""
    start = time.process_time()
    function()
    return time.process_time() - start


def _packages(peer: Path) -> str:
    find = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return subprocess.check_output([peer / "bin" / "python", "-c", find], text=True).strip()


def _peak() -> float:
    """Peak memory of this process in MB (Linux only)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise SystemExit("this benchmark needs Linux")


def _rows(title: str, runs: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    own = runs["umseg"]
    return [
        {
            "data": title,
            "side": side,
            "seconds": run["seconds"],
            "MB": run["MB"],
            "times umseg": run["seconds"] / own["seconds"],
            "largest difference": f"{_largest_difference(run['scores'], own['scores']):.1e}",
        }
        for side, run in runs.items()
    ]


def _largest_difference(first: Scores, second: Scores) -> float:
    """The largest difference between scores of the same name; those that are equal or both NaN do not differ."""
    pairs = [(first[name][key], second[name][key]) for name in second for key in second[name]]
    return max(0.0 if a == b or (np.isnan(a) and np.isnan(b)) else abs(a - b) for a, b in pairs)


def _run(side: str, part: str, data: str, metrics: str, repeats: str, output: str, packages: str) -> None:
    """One side in this process."""
    # The folder is appended at the end, so that numpy and scipy are those of this environment.
    if side != "umseg":
        sys.path.append(packages)
    if part == "files":
        result = run_files(side, Path(data), metrics.split(","))
    elif part == "instances":
        result = run_instances(side, Path(data), int(repeats))
    else:
        result = run_side(side, Path(data), metrics.split(","), int(repeats))
    Path(output).write_text(json.dumps(result))


def main() -> list[Row]:
    """Parse the arguments, run the parts and return the figures."""
    if sys.argv[1:2] == ["--run"]:
        _run(*sys.argv[2:])
        return []
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--atlas", type=Path)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    options.scratch = options.scratch.absolute()
    options.scratch.mkdir(parents=True, exist_ok=True)
    return [row for part in options.parts.split(",") for row in PARTS[part](options)]


if __name__ == "__main__":
    show(main())
