"""What goes wrong in a folder of images and on a machine, and what becomes of the other cases.

`tools/break_runs.py` kills and fills disks; here its verdict is joined with what bad cases do. `umseg predict` has no
worker processes, which is looked at: its workers are further commands that share the output folder, and one of two of
them is killed.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np

from benchmarks.common import FOLDER, Row
from benchmarks.prediction.verdict import fact
from benchmarks.processes import tree
from tests.inference.models import make_image, write_model

CASES = 10
_SHAPE = (12, 14, 13)
_SECONDS_BETWEEN_LOOKS = 0.05


def rows(scratch: Path, kills: int, seed: int) -> Iterator[Row]:
    """Bad cases, kills, and bad disks."""
    yield from _bad_cases(scratch)
    yield _workers(scratch)
    yield from _gpu()
    for options, what in (
        (["--kills", str(kills), "--verbs", "predict"], f"SIGKILL of predict at {kills} moments"),
        (["--shared", str(kills)], f"SIGKILL of one of two that share a folder, at {kills} moments"),
        (["--disks"], "full and read-only disks"),
    ):
        command = [sys.executable, str(FOLDER.parent / "tools" / "break_runs.py"), "--seed", str(seed), *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found = re.findall(r"^(\d+) things are wrong", done.stdout, flags=re.MULTILINE)
        text = f"{found[0]} things wrong" if found else f"exit status {done.returncode}"
        yield fact("faults", what, text, "nothing lost, torn or left over", done.returncode == 0)


def _bad_cases(scratch: Path) -> Iterator[Row]:
    """One bad case among ten, of each kind."""
    model = write_model(scratch / "model")
    for kind in ("corrupt file", "NaN", "wrong channels"):
        folder = scratch / kind.replace(" ", "_")
        (folder / "in").mkdir(parents=True, exist_ok=True)
        for number in range(CASES):
            _write(folder / "in" / f"case_{number}_0000.nii.gz", make_image(_SHAPE, number))
        _spoil(folder / "in", kind)
        words = ["predict", "--model", model, "--input", folder / "in", "--output", folder / "out", "--no-resume"]
        command = [sys.executable, "-m", "umseg", *map(str, words), "--quiet"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        written = len(list((folder / "out").glob("case_*.nii.gz")))
        listed = json.loads((folder / "out" / "failures.json").read_text(encoding="utf-8"))
        named = "case_3" in json.dumps(listed) and "case_3" in done.stderr
        text = f"exit status {done.returncode}, {written} of {CASES - 1} others written"
        holds = done.returncode == 1 and written == CASES - 1 and named and "Traceback" not in done.stderr
        yield fact("faults", f"{kind}, one of {CASES}", text, "exit status 1, all others, the case named", holds)


def _workers(scratch: Path) -> Row:
    """The processes that a prediction starts."""
    words = ["--model", scratch / "model", "--input", scratch / "NaN" / "in", "--output", scratch / "watched"]
    command = [sys.executable, "-m", "umseg", "predict", *map(str, words), "--no-resume", "--quiet"]
    process, most = subprocess.Popen(command, stderr=subprocess.DEVNULL), 0
    while process.poll() is None:
        most = max(most, len(tree(process.pid)) - 1)
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    return fact("faults", "processes besides the command's own", str(most), "0, so that none can die", most == 0)


def _spoil(folder: Path, kind: str) -> None:
    path = folder / "case_3_0000.nii.gz"
    if kind == "corrupt file":
        path.write_bytes(path.read_bytes()[:-40])
    elif kind == "NaN":
        image = make_image(_SHAPE)
        image[3, 4, 5] = np.nan
        _write(path, image)
    else:
        _write(folder / "case_3_0001.nii.gz", make_image(_SHAPE))


def _write(path: Path, image: np.ndarray) -> None:
    nibabel.save(nibabel.Nifti1Image(image.T, np.eye(4)), path)


def _gpu() -> Iterator[Row]:
    """Exhausted memory of a GPU, on a real one where there is one, else by a device that refuses."""
    import torch

    tests = FOLDER.parent / "tests" / "inference" / "windows" / "test_runner.py"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", str(tests)], capture_output=True, text=True, check=False
    )
    found = re.findall(r"(\d+) passed", done.stdout)
    where = "on a GPU and by simulation" if torch.cuda.is_available() else "by simulation"
    text = f"{found[0] if found else 0} tests pass {where}"
    yield fact("faults", "GPU memory exhausted", text, "fewer windows, then the CPU, said", done.returncode == 0)
