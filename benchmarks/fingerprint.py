"""Fingerprint and plan beside nnU-Net's, on the same data with as many workers.

    python benchmarks/fingerprint.py DATASET [DATASET ...] --peer VENV [--workers 2] [--repeats 3]

DATASET is a folder ``DatasetNNN_Name`` in nnU-Net v2's raw format, VENV a virtual environment with nnunetv2. Both sides
run as processes of their own, in turn; nothing of an earlier run is used again. Prints wall time and peak memory of all
processes together (proportional set size; Linux only), and the ratios of the medians.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

SECONDS_BETWEEN_SAMPLES = 0.1


@dataclass(frozen=True)
class Cost:
    """Of one run.

    Attributes:
        seconds: Wall time.
        megabytes: Peak memory of the process and its descendants.
    """

    seconds: float
    megabytes: float


def measure(commands: list[list[str]], environment: dict[str, str]) -> Cost:
    """Run commands one after another."""
    start, peak = time.perf_counter(), 0.0
    for command in commands:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        done = threading.Event()
        samples: list[float] = []
        sampler = threading.Thread(target=sample, args=(process.pid, done, samples))
        sampler.start()
        code = process.wait()
        done.set()
        sampler.join()
        if code:
            raise SystemExit(f"exit code {code}: {' '.join(command)}")
        peak = max(peak, *samples)
    return Cost(time.perf_counter() - start, peak)


def sample(pid: int, done: threading.Event, samples: list[float]) -> None:
    """Append the memory of a process tree until ``done``."""
    while True:
        samples.append(sum(proportional_size(member) for member in tree(pid)))
        if done.wait(SECONDS_BETWEEN_SAMPLES):
            return


def tree(pid: int) -> list[int]:
    """A process and its descendants."""
    members = [pid]
    for member in members:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{member}/task").iterdir():
                members += [int(child) for child in (task / "children").read_text().split()]
    return members


def proportional_size(pid: int) -> float:
    """Memory in MB; pages that processes share are divided among them."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def run_ours(folder: Path, workers: int) -> None:
    """What is measured of umseg."""
    from umseg.dataset import load_dataset
    from umseg.planning import extract_fingerprint, make_plan

    dataset = load_dataset(folder)
    make_plan(extract_fingerprint(dataset, workers=workers, quiet=True), dataset.description)


def compare(folder: Path, peer: Path, workers: int, repeats: int) -> None:
    """Print a table for one data set."""
    ours = [[sys.executable, __file__, "--ours", "--workers", str(workers), str(folder)]]
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
    medians = {
        name: Cost(statistics.median(c.seconds for c in found), statistics.median(c.megabytes for c in found))
        for name, found in costs.items()
    }
    print(f"{folder.name}, {workers} workers, median of {repeats}")
    for name, cost in medians.items():
        print(f"  {name:8} {cost.seconds:7.2f} s {cost.megabytes:8.0f} MB")
    mine, other = medians["umseg"], medians["nnU-Net"]
    print(f"  ratio    {mine.seconds / other.seconds:7.2f}   {mine.megabytes / other.megabytes:8.2f}")


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", type=Path, nargs="+")
    parser.add_argument("--peer", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--ours", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    for folder in arguments.datasets:
        if arguments.ours:
            run_ours(folder, arguments.workers)
        else:
            compare(folder.absolute(), arguments.peer.absolute(), arguments.workers, arguments.repeats)


if __name__ == "__main__":
    main()
