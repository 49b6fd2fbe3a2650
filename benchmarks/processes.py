"""Wall time and memory of commands with all their processes (Linux only), for the other benchmarks."""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common import Row

SECONDS_BETWEEN_SAMPLES = 0.1


@dataclass(frozen=True)
class Cost:
    """The cost of one run.

    Attributes:
        seconds: Wall time in seconds.
        megabytes: Peak memory in MB of the process and its descendants; pages that they share are counted once.
    """

    seconds: float
    megabytes: float


def measure(commands: list[list[str]], environment: dict[str, str]) -> Cost:
    """Run commands one after another and return their cost."""
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
    """Append the memory of a process tree to the samples until ``done`` is set."""
    while True:
        samples.append(sum(proportional_size(member) for member in tree(pid)))
        if done.wait(SECONDS_BETWEEN_SAMPLES):
            return


def tree(pid: int) -> list[int]:
    """The ids of a process and its descendants."""
    members = [pid]
    for member in members:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{member}/task").iterdir():
                members += [int(child) for child in (task / "children").read_text().split()]
    return members


def proportional_size(pid: int) -> float:
    """Memory of a process in MB; pages that processes share are divided among them."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def cpu_of_children() -> float:
    """CPU seconds of all processes that this one started and that have ended."""
    used = os.times()
    return used.children_user + used.children_system


def comparison(title: str, costs: Mapping[str, Sequence[Cost]]) -> list[Row]:
    """The medians of both sides, umseg first, and their ratios."""
    sides = {
        name: Cost(statistics.median(c.seconds for c in runs), statistics.median(c.megabytes for c in runs))
        for name, runs in costs.items()
    }
    mine, other = sides.values()
    sides["ratio"] = Cost(mine.seconds / other.seconds, mine.megabytes / other.megabytes)
    return [{"data": title, "side": name, "seconds": c.seconds, "MB": c.megabytes} for name, c in sides.items()]
