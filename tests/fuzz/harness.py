"""Runs workers over mutations and says what came of each: a result, a clear error, or a finding."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil

from tests.fuzz.targets import TARGETS

SECONDS = 10
"""How much processor time a single file may take."""
_PATIENCE = 12
"""How many times longer than that a busy machine may take, or a process that waits for something."""
_ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Outcomes:
    """What came of the mutations of one target.

    Attributes:
        counts: Number of mutations by outcome: ``read``, ``refused``, ``failed``, ``crashed`` or ``hung``.
        findings: Number of the mutation, the outcome and the traceback, for all but the first two.
        strayed: Files that appeared outside the folders that umseg was given.
    """

    counts: Counter[str] = field(default_factory=Counter)
    findings: list[tuple[int, str, str]] = field(default_factory=list)
    strayed: list[str] = field(default_factory=list)


def fuzz(target: str, start: int, count: int, folder: Path) -> Outcomes:
    """Read ``count`` mutations of a target, from number ``start`` on.

    Args:
        target: A name in ``TARGETS``.
        start: Number of the first mutation; each number always stands for the same change.
        count: How many.
        folder: An empty folder for the samples.
    """
    (folder / "samples").mkdir(parents=True)
    TARGETS[target].write(folder / "samples")
    outcomes = Outcomes()
    following, end = start, start + count
    while following < end:
        for number, outcome, text in _work(target, folder, following, end):
            outcomes.counts[outcome] += 1
            if outcome not in ("read", "refused"):
                outcomes.findings.append((number, outcome, text))
            following = number + 1
    known = {"samples", "work", "errors.txt", "resumed", "planned", "converted", "imported"}
    outcomes.strayed = sorted(path.name for path in folder.iterdir() if path.name not in known)
    return outcomes


def _work(target: str, folder: Path, start: int, end: int) -> Iterator[tuple[int, str, str]]:
    """Outcomes from one worker, until it is done, crashes or has to be killed."""
    command = [sys.executable, "-m", "tests.fuzz.worker", target, str(folder), str(start), str(end)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(_ROOT)}
    with (folder / "errors.txt").open("w+", encoding="utf-8", errors="replace") as errors:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True, encoding="utf-8"
        )
        lines: queue.Queue[str | None] = queue.Queue()
        assert process.stdout is not None
        reader = threading.Thread(target=_forward, args=(process.stdout, lines), daemon=True)
        reader.start()
        number, begun = start, False
        try:
            while (line := _next_line(lines, process, begun)) is not None:
                number, outcome, text = json.loads(line)
                begun = outcome == "begin"
                if not begun:
                    yield number, outcome, text
        except TimeoutError as error:
            yield number, "hung", str(error)
            return
        finally:
            process.kill()
            process.wait()
            reader.join()
        if begun or number < end - 1:
            errors.seek(0)
            yield number, "crashed", f"exit status {process.returncode}\n{errors.read()[-4000:]}"


def _forward(pipe: IO[str], lines: queue.Queue[str | None]) -> None:
    with pipe:
        for line in pipe:
            lines.put(line)
    lines.put(None)


def _next_line(lines: queue.Queue[str | None], process: subprocess.Popen[str], begun: bool) -> str | None:
    """The worker's next line; None when it has ended.

    Raises:
        TimeoutError: It reads the same file for too long.
    """
    begin, used = time.monotonic(), _processor_time(process)
    while True:
        try:
            return lines.get(timeout=0.5)
        except queue.Empty:
            waited, worked = time.monotonic() - begin, _processor_time(process) - used
            if begun and (worked > SECONDS or waited > SECONDS * _PATIENCE):
                raise TimeoutError(f"{waited:.0f} s, {worked:.0f} s of processor time") from None


def _processor_time(process: subprocess.Popen[str]) -> float:
    try:
        times = psutil.Process(process.pid).cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)
