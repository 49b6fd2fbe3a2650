"""Resident memory of a process while it works, by stage: ``python -m benchmarks.prediction.resident -- OPTIONS``.

The stages of ``umseg predict`` say when they begin and end; another process samples the resident memory meanwhile, so
that nothing waits for Python's lock. A stage that runs in another thread counts what all threads hold.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.common import Row, module_command, show
from benchmarks.processes import cpu_of_children

SECONDS_BETWEEN_SAMPLES = 0.005
STAGES = (
    "umseg.inference.pipeline.cases:read_image",
    "umseg.inference.model:preprocess_case",
    "umseg.preprocess.preprocess:nonzero_box",
    "umseg.preprocess.preprocess:nonzero_region",
    "umseg.preprocess.preprocess:prepare_channel",
    "umseg.inference.model:segment_case",
    "umseg.inference.windows.runner:Runner.add",
    "umseg.inference.export.label_map:LabelExport.add",
    "umseg.inference.export.label_map:LabelExport.label_map",
    "umseg.inference.model:LoadedModel.finish",
    "umseg.inference.pipeline.cases:write_label",
    "umseg.dataset.io.images:_check_written",
)
"""Functions and methods, by the modules that call them."""


@dataclass(frozen=True)
class Stage:
    """One call of a stage.

    Attributes:
        name: Name of the function.
        start: Seconds since the epoch.
        stop: Seconds since the epoch.
        cpu: CPU seconds of the process meanwhile.
        peak: Largest resident memory of the process meanwhile, bytes.
        after: Resident memory at the end, bytes.
    """

    name: str
    start: float
    stop: float
    cpu: float
    peak: int
    after: int


@dataclass(frozen=True)
class Measured:
    """A run of a process.

    Attributes:
        seconds: Wall time.
        cpu: CPU seconds; 0 on Windows.
        peak: Largest resident memory, bytes: that of the system's own count on Linux, else of the samples.
        stages: Its stages, in the order of their beginnings.
        code: Exit code.
        text: What it wrote to standard error.
    """

    seconds: float
    cpu: float
    peak: int
    stages: tuple[Stage, ...]
    code: int
    text: str


def run_predict(arguments: Sequence[str]) -> Measured:
    """Run ``umseg predict`` with these arguments, and measure it."""
    with tempfile.TemporaryDirectory() as folder:
        marks = Path(folder) / "marks"
        environment = {**os.environ, "UMSEG_MARKS": str(marks)}
        start = time.perf_counter()
        command = module_command("prediction.resident", "--child", *arguments)
        with (Path(folder) / "text").open("w+", encoding="utf-8") as errors:
            process = subprocess.Popen(command, env=environment, stderr=errors)
            samples: list[tuple[float, int]] = []
            before = cpu_of_children()
            peak = sample(process, samples)
            cpu = cpu_of_children() - before
            seconds = time.perf_counter() - start
            errors.seek(0)
            text = errors.read()
        lines = marks.read_text(encoding="utf-8").splitlines() if marks.exists() else []
    stages = sorted((_stage(json.loads(line), samples) for line in lines), key=lambda stage: stage.start)
    return Measured(seconds, cpu, peak, tuple(stages), process.returncode, text)


def sample(process: subprocess.Popen[Any], samples: list[tuple[float, int]]) -> int:
    """Append time and resident memory of a process until it ends; returns the peak in bytes."""
    peak, watched = 0, psutil.Process(process.pid)
    while process.poll() is None:
        try:
            size = watched.memory_info().rss
            if sys.platform == "linux":
                peak = max(peak, _high_water(process.pid))
        except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
            continue
        peak = max(peak, size)
        samples.append((time.time(), size))
        time.sleep(SECONDS_BETWEEN_SAMPLES)
    return peak


def rows(measured: Measured) -> list[Row]:
    """The stages as a table, all calls of one together."""
    table: list[Row] = []
    for name in dict.fromkeys(stage.name for stage in measured.stages):
        calls = [stage for stage in measured.stages if stage.name == name]
        table.append(
            {
                "stage": name,
                "calls": len(calls),
                "seconds": sum(stage.stop - stage.start for stage in calls),
                "CPU seconds": sum(stage.cpu for stage in calls),
                "peak MB": max(stage.peak for stage in calls) / 1e6,
                "after MB": calls[-1].after / 1e6,
            }
        )
    whole = {
        "stage": "all",
        "calls": None,
        "seconds": measured.seconds,
        "CPU seconds": measured.cpu,
        "peak MB": measured.peak / 1e6,
    }
    return [*table, {**whole, "after MB": None}]


def _high_water(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _stage(mark: Sequence[Any], samples: Sequence[tuple[float, int]]) -> Stage:
    name, start, stop, cpu = mark
    inside = [size for moment, size in samples if start <= moment <= stop]
    later = [size for moment, size in samples if moment >= stop][:1]
    return Stage(name, start, stop, cpu, max([*inside, *later], default=0), later[0] if later else 0)


def _mark(path: Path, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    lock = threading.Lock()

    @functools.wraps(function)
    def marked(*arguments: Any, **named: Any) -> Any:
        start, cpu = time.time(), time.process_time()
        try:
            return function(*arguments, **named)
        finally:
            with lock, path.open("a", encoding="utf-8") as file:
                file.write(json.dumps([name, start, time.time(), time.process_time() - cpu]) + "\n")

    return marked


def _child(arguments: Sequence[str]) -> None:
    marks = Path(os.environ["UMSEG_MARKS"])
    start, cpu = time.time(), time.process_time()
    for stage in STAGES:
        module, _, path = stage.partition(":")
        owner: Any = importlib.import_module(module)
        *parents, name = path.split(".")
        for parent in parents:
            owner = getattr(owner, parent)
        setattr(owner, name, _mark(marks, name if not parents else path, getattr(owner, name)))
    with marks.open("a", encoding="utf-8") as file:
        file.write(json.dumps(["imports", start, time.time(), time.process_time() - cpu]) + "\n")
    from umseg.cli import main as umseg_main

    sys.argv = ["umseg", "predict", *arguments]
    umseg_main()


def main() -> None:
    """Parse the arguments, run the command and print the stages."""
    if sys.argv[1:2] == ["--child"]:
        _child(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("arguments", nargs="+", help="arguments of umseg predict, after --")
    measured = run_predict(parser.parse_args().arguments)
    print(measured.text, end="", file=sys.stderr)
    show(rows(measured))
    sys.exit(measured.code)


if __name__ == "__main__":
    main()
