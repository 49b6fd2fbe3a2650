"""Functions that the benchmarks share: tables of figures, records of runs, and commands of processes."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

Row = Mapping[str, str | float | None]
"""Figures or texts by column; None where there is nothing to measure. All rows of a table have the same columns."""

FOLDER = Path(__file__).resolve().parent
RESULTS = FOLDER / "results"
_PACKAGES = ("torch", "numpy", "numba", "nnunetv2")


def seconds(function: Callable[[], object]) -> float:
    """Wall time of a call in seconds."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def medians(costs: Sequence[Mapping[str, float]], keys: Sequence[str]) -> dict[str, float]:
    """The median over the runs for each key."""
    return {key: statistics.median(cost[key] for cost in costs) for key in keys}


def module_command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of this package, such as ``network``, in a separate process.

    Like ``python -m benchmarks`` it finds the package in the working directory.
    """
    return [sys.executable, "-m", f"benchmarks.{module}", *arguments]


def machine() -> dict[str, str | float]:
    """The processor, the number of cores that this process may use, the GPU if there is one, and the current load."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    description: dict[str, str | float] = {"processor": _processor(), "cores": cores, "system": platform.system()}
    description["load"] = round(load, 1)
    import torch

    if torch.cuda.is_available():
        description["gpu"] = torch.cuda.get_device_name()
    return description


def record(name: str, arguments: Sequence[str], rows: Sequence[Row] | None, output: str) -> dict[str, Any]:
    """The record of a run: benchmark, arguments, date, machine, versions and figures.

    Args:
        name: Name of the benchmark.
        arguments: Arguments of the benchmark; absolute paths are shortened to their last names.
        rows: Figures of the benchmark; None if it only prints them.
        output: Text that the benchmark printed.
    """
    return {
        "benchmark": name,
        "arguments": [placeless(argument) for argument in arguments],
        "date": date.today().isoformat(),
        "commit": _commit(),
        "machine": machine(),
        "versions": {"python": platform.python_version(), **_versions()},
        "rows": None if rows is None else [dict(row) for row in rows],
        "output": output.splitlines(),
    }


def placeless(argument: str) -> str:
    """An argument without the place on this machine: of an absolute path only the last name is recorded."""
    return Path(argument).name if Path(argument).is_absolute() else argument


def save(path: Path, result: Mapping[str, Any]) -> None:
    """Write a record as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def load(name: str) -> dict[str, Any]:
    """The recorded run of a benchmark.

    Raises:
        FileNotFoundError: No run of the benchmark has been recorded.
    """
    return load_file(RESULTS / f"{name}.json")


def load_file(path: Path) -> dict[str, Any]:
    """A record that ``save`` wrote."""
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return result


def joined(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a run with the rows of earlier runs of the same benchmark.

    Rows that begin with the same two texts are about the same: the newer one takes the place of the older one.
    ``earlier`` says how the earlier runs were made; one with the options of the new run is left out.
    """
    fresh = {_about(row): row for row in new["rows"]}
    rows = [fresh.pop(_about(row), row) for row in old["rows"]]
    runs = [*old.get("earlier", []), {key: old[key] for key in old if key not in ("rows", "output", "earlier")}]
    earlier = [run for run in runs if run["arguments"] != new["arguments"]]
    return {**new, "rows": [*rows, *fresh.values()], "output": [*old["output"], *new["output"]], "earlier": earlier}


def _about(row: Row) -> tuple[str | float | None, ...]:
    return tuple(row.values())[:2]


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table, with figures aligned to the right."""
    columns = list(rows[0])
    figures = [all(isinstance(row[column], int | float | None) for row in rows) for column in columns]
    lines = [columns, ["---:" if figure else "---" for figure in figures]]
    lines += [[_text(row[column]) for column in columns] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def table(rows: Sequence[Row]) -> str:
    """The rows as a table for a terminal."""
    columns = list(rows[0])
    cells = [columns, *([_text(row[column]) for column in columns] for row in rows)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in cells)


def show(rows: Sequence[Row]) -> None:
    """Print the rows as a table, if there are any."""
    if rows:
        print(table(rows), flush=True)


def _text(value: str | float | None) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    """The commit that is checked out, with a plus sign if files have been changed."""
    commands = (["git", "rev-parse", "--short", "HEAD"], ["git", "status", "--porcelain", "--untracked-files=no"])
    done = [subprocess.run(c, cwd=FOLDER, capture_output=True, text=True, check=False) for c in commands]
    return done[0].stdout.strip() + ("+" if done[1].stdout.strip() else "")


def _versions() -> dict[str, str]:
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
