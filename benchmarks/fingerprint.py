"""Fingerprint and plan in comparison with nnU-Net's, on the same data with the same number of workers.

    python -m benchmarks.fingerprint DATASET [DATASET ...] --peer VENV [--workers 2] [--repeats 3]

DATASET is a folder ``DatasetNNN_Name`` in nnU-Net v2's raw format, VENV a virtual environment with nnunetv2. The
two sides run alternately in separate processes, and use no results of earlier runs. The figures are wall time and peak
memory of all processes together (proportional set size; Linux only), and the ratios of the medians.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from benchmarks.common import Row, module_command, show
from benchmarks.processes import Cost, comparison, measure


def run_ours(folder: Path, workers: int) -> None:
    """Run the part of umseg that is measured."""
    from umseg.dataset import load_dataset
    from umseg.planning import extract_fingerprint, make_plan

    dataset = load_dataset(folder)
    make_plan(extract_fingerprint(dataset, workers=workers, quiet=True), dataset.description)


def compare(folder: Path, peer: Path, workers: int, repeats: int) -> list[Row]:
    """The figures for one data set."""
    ours = [module_command("fingerprint", "--ours", "--workers", str(workers), str(folder))]
    number = str(int(folder.name[len("Dataset") :].split("_")[0]))
    costs: dict[str, list[Cost]] = {"umseg": [], "nnU-Net": []}
    for _ in range(repeats):
        costs["umseg"].append(measure(ours, dict(os.environ)))
        with tempfile.TemporaryDirectory() as scratch:
            environment = {**os.environ, "nnUNet_raw": str(folder.parent)}
            for name in ("nnUNet_preprocessed", "nnUNet_results"):
                environment[name] = scratch
            theirs = [
                [str(peer / "bin" / "nnUNetv2_extract_fingerprint"), "-d", number, "-np", str(workers)],
                [str(peer / "bin" / "nnUNetv2_plan_experiment"), "-d", number],
            ]
            costs["nnU-Net"].append(measure(theirs, environment))
    return comparison(f"{folder.name}, {workers} workers, median of {repeats}", costs)


def main() -> list[Row]:
    """Parse the arguments, run the benchmark and return the figures of all data sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", type=Path, nargs="+")
    parser.add_argument("--peer", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--ours", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    rows: list[Row] = []
    for folder in arguments.datasets:
        if arguments.ours:
            run_ours(folder, arguments.workers)
        else:
            rows += compare(folder.absolute(), arguments.peer.absolute(), arguments.workers, arguments.repeats)
    return rows


if __name__ == "__main__":
    show(main())
