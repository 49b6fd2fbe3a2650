"""Kill ``umseg plan`` again and again: ``python -m tests.workflows.killed_plans DATASET FOLDER SEED``.

Imports take longer than planning a small data set. So this process only imports, and every run is a fork of it. FOLDER
gets ``undisturbed``, ``other`` (another plan of the same data) and, for every kill, a workspace in which the run after
the kill has ended; half of them began as ``other``. Prints a JSON list of how the killed runs ended.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest import mock

from umseg.planning import Overrides
from umseg.planning.fingerprint import extract_fingerprint
from umseg.preprocess import preprocess_dataset
from umseg.workflows import plan as workflow

# Loaded before the forks, not in each of them.
LOADED = preprocess_dataset
FEW_SAMPLES = 10_000
KILLS_BY_STEP = 12
KILLS_BY_TIME = 8


class Steps:
    """Counts what a run does to the disk, and kills it before, in the middle of or after one of these steps."""

    def __init__(self, last: int | None) -> None:
        self.count = 0
        self.last = last
        self._around(os, "replace")
        self._around(os, "fsync")
        self._around(Path, "unlink")
        self._halve("write_bytes")
        self._halve("write_text")

    def step(self) -> bool:
        self.count += 1
        return self.count == self.last

    def _around(self, owner: object, name: str) -> None:
        function = getattr(owner, name)

        def stepping(*arguments: object, **options: object) -> object:
            if self.step():
                kill()
            result = function(*arguments, **options)
            if self.step():
                kill()
            return result

        setattr(owner, name, stepping)

    def _halve(self, name: str) -> None:
        function = getattr(Path, name)

        def stepping(path: Path, content: bytes | str, **options: object) -> object:
            if self.step():
                function(path, content[: len(content) // 2], **options)
                kill()
            return function(path, content, **options)

        setattr(Path, name, stepping)


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def start(work: Callable[[], None]) -> int:
    """Run in a fork; its process id."""
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def run(work: Callable[[], None]) -> int:
    """Run in a fork to its end; exit code, or minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(start(work), 0)[1])


@mock.patch.object(workflow, "extract_fingerprint", partial(extract_fingerprint, num_samples=FEW_SAMPLES))
def main(dataset: Path, folder: Path, seed: int) -> None:
    """Fill ``folder``."""
    draw = random.Random(seed)

    def plan(root: Path, last: int | None = None, overrides: Overrides | None = None) -> None:
        steps = Steps(last)
        workflow.plan_dataset(dataset, root, overrides=overrides, quiet=True)
        root.with_suffix(".steps").write_text(str(steps.count))

    other, undisturbed = folder / "other", folder / "undisturbed"
    begun = time.monotonic()
    assert run(lambda: plan(undisturbed)) == 0
    seconds = time.monotonic() - begun
    assert run(lambda: plan(other, overrides=Overrides(spacing=(2.0, 2.0, 2.0)))) == 0
    steps = int(undisturbed.with_suffix(".steps").read_text())

    endings = []
    for number in range(KILLS_BY_STEP + KILLS_BY_TIME):
        root = folder / f"killed_{number}"
        if number % 2:
            shutil.copytree(other, root)
        if number < KILLS_BY_STEP:
            last = draw.randint(1, steps)
            endings.append(run(lambda root=root, last=last: plan(root, last)))  # type: ignore[misc]
        else:
            pid = start(lambda root=root: plan(root))  # type: ignore[misc]
            time.sleep(draw.uniform(0, seconds))
            os.kill(pid, signal.SIGKILL)
            endings.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        assert run(lambda root=root: plan(root)) == 0  # type: ignore[misc]
    sys.stdout.write(json.dumps(endings))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
