"""Kill whole commands, fill their disk and make it read-only; then run them again and compare.

::

    python tools/break_runs.py --kills 20 --seed 0            # SIGKILL of plan, train and predict
    python tools/break_runs.py --kills 20 --verbs predict     # of predict alone
    python tools/break_runs.py --shared 20 --seed 0           # SIGKILL of one of two that predict into one folder
    python tools/break_runs.py --disks                        # full and read-only disks; needs root and Linux

Every command first runs undisturbed. Each kill falls at a seeded moment of a fresh run; the whole group of processes is
looked at after it: none may be left. The same command is then given again, and its results must be those of the
undisturbed run, byte for byte, without leftovers. Of two predictions into one folder, the one that is not killed must
make what the other had begun. On a disk that is full or read-only a command must end with exit
status 1 or 2 and a message, not a traceback, leave no file that is half-written, and succeed once there is room.

The exit status is 1 if anything was lost, torn or left over.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.blobs import write_blobs  # noqa: E402

DATASET = "Dataset907_Blobs"
CASES = 8
MOST_SECONDS = 300
PAGE = 4096
"""The smallest file system; 0 bytes would mean no limit."""

GRACE = 15
"""Seconds after which no process of a killed command may be left."""
RESULTS = ("plan.json", "fingerprint.json", "splits.json", "weights_final.safetensors", "*.b2nd", "*.nii.gz")
"""Files that must be equal byte for byte; others hold times and paths."""


@dataclass(frozen=True)
class Verb:
    """A command.

    Attributes:
        name: Name of the verb.
        before: Brings a folder to the state in which the command starts.
        words: The command line, for that folder.
    """

    name: str
    before: Callable[[Path], None]
    words: Callable[[Path], list[str]]


class Bench:
    """A data set, and the undisturbed state after each verb."""

    def __init__(self, folder: Path) -> None:
        self.data = write_blobs(folder / DATASET, CASES)
        self.done = folder / "done"
        for verb in self.verbs():
            target = self.done / verb.name
            target.mkdir(parents=True)
            verb.before(target)
            start = time.perf_counter()
            status, text = run(verb.words(target))
            if status:
                raise SystemExit(f"umseg {verb.name} fails undisturbed:\n{text}")
            (self.done / f"{verb.name}.seconds").write_text(str(time.perf_counter() - start))

    def seconds(self, verb: Verb) -> float:
        """How long the command takes."""
        return float((self.done / f"{verb.name}.seconds").read_text())

    def verbs(self) -> list[Verb]:
        """The commands, each of which starts from what the one before it left."""
        return [Verb(name, self._before(name), self._words(name)) for name in ("plan", "train", "predict", "evaluate")]

    def _before(self, name: str) -> Callable[[Path], None]:
        def before(target: Path) -> None:
            if name != "plan":
                earlier = {"train": "plan", "predict": "train", "evaluate": "predict"}[name]
                shutil.copytree(self.done / earlier, target, dirs_exist_ok=True)

        return before

    def _words(self, name: str) -> Callable[[Path], list[str]]:
        def words(target: Path) -> list[str]:
            workspace = ["--workspace", str(target / "w")]
            images, labels = str(self.data / "imagesTr"), str(self.data / "labelsTr")
            predictions, few = str(target / "out"), ["--iterations", "6", "--workers", "2"]
            return {
                "plan": [
                    "plan",
                    str(self.data),
                    *workspace,
                    "--preset",
                    "cpu",
                    "--config",
                    "3d_fullres",
                    "--workers",
                    "2",
                ],
                "train": ["train", DATASET, *workspace, "--model", "nnunet", "--epochs", "4", *few],
                "predict": ["predict", "--model", str(self.model(target)), "--input", images, "--output", predictions],
                "evaluate": ["evaluate", "--predictions", predictions, "--reference", labels],
            }[name]

        return words

    def model(self, target: Path) -> Path:
        """The model folder of a trained workspace."""
        return target / "w" / DATASET / "models" / "nnunet__3d_fullres"


def run(words: list[str], kill_after: float | None = None) -> tuple[int, str]:
    """Run a command; exit status and all that it printed. With ``kill_after`` it is killed after so many seconds."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "umseg", *words, "--quiet"],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            process.wait(MOST_SECONDS if kill_after is None else kill_after)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            if kill_after is None:
                return -signal.SIGALRM, "the command did not end"
        output.seek(0)
        return process.returncode, output.read()


def results(target: Path) -> dict[str, str]:
    """Hashes of a folder's results by path."""
    files = (path for pattern in RESULTS for path in target.rglob(pattern))
    return {
        str(path.relative_to(target)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if not path.name.startswith(".")
    }


def leftovers(target: Path) -> list[str]:
    """Temporary files, and what is left of claims."""
    found = [path for pattern in (".tmp-*", ".umseg-*") for path in target.rglob(pattern)]
    return [str(path.relative_to(target)) for path in found]


def orphans(target: Path) -> list[str]:
    """Processes that still work for a command which was killed, after the time of grace."""
    end = time.monotonic() + GRACE
    while True:
        left = [process for process in psutil.process_iter(["pid", "cmdline"]) if _belongs(process, target)]
        if not left or time.monotonic() > end:
            return [f"process {process.pid}" for process in left]
        time.sleep(0.2)


def _belongs(process: psutil.Process, target: Path) -> bool:
    with suppress(psutil.Error):
        environment = process.environ()
        return process.pid != os.getpid() and environment.get("UMSEG_BROKEN_RUN") == str(target)
    return False


def kill_verbs(bench: Bench, folder: Path, kills: int, seed: int, names: Sequence[str]) -> list[str]:
    """Kill each of these verbs; what was wrong."""
    wrong: list[str] = []
    for verb in (verb for verb in bench.verbs() if verb.name in names):
        draw = random.Random(f"{seed} {verb.name}")
        killed = 0
        for number in range(kills):
            target = folder / f"{verb.name}-{number}"
            target.mkdir()
            verb.before(target)
            os.environ["UMSEG_BROKEN_RUN"] = str(target)
            status, _ = run(verb.words(target), kill_after=draw.uniform(0.3, bench.seconds(verb)))
            killed += status == -signal.SIGKILL
            found = orphans(target)
            os.environ.pop("UMSEG_BROKEN_RUN")
            status, text = run(verb.words(target))
            if status:
                found.append(f"exit status {status} afterwards: {text[-600:]}")
            elif results(target) != results(bench.done / verb.name):
                found.append("other results than undisturbed")
            wrong += [f"{verb.name}, kill {number}: {what}" for what in (*found, *leftovers(target))]
            shutil.rmtree(target)
        print(f"umseg {verb.name:10}{kills} runs, {killed} of them killed before their end", flush=True)
    return wrong


def kill_one_of_two(bench: Bench, folder: Path, kills: int, seed: int) -> list[str]:
    """Kill one of two predictions into one folder; what was wrong."""
    wrong: list[str] = []
    (verb,) = (verb for verb in bench.verbs() if verb.name == "predict")
    draw, killed = random.Random(f"{seed} shared"), 0
    for number in range(kills):
        target = folder / f"shared-{number}"
        target.mkdir()
        verb.before(target)
        after = draw.uniform(0.3, bench.seconds(verb))
        with ThreadPoolExecutor(1) as other:
            survivor = other.submit(run, verb.words(target))
            status, _ = run(verb.words(target), kill_after=after)
            killed += status == -signal.SIGKILL
            status, text = survivor.result()
        found = [f"exit status {status} of the other: {text[-600:]}"] if status else []
        if results(target) != results(bench.done / verb.name):
            found.append("other results than undisturbed")
        status, text = run(verb.words(target))
        found += [f"exit status {status} afterwards: {text[-600:]}"] if status else []
        wrong += [f"shared, kill {number}: {what}" for what in (*found, *leftovers(target))]
        shutil.rmtree(target)
    print(f"two predictions  {kills} runs, one of them killed before its end in {killed}", flush=True)
    return wrong


def fill_disks(bench: Bench, folder: Path) -> list[str]:
    """Run each verb on disks of several sizes and on a read-only one; what was wrong."""
    wrong: list[str] = []
    for verb in bench.verbs():
        outcomes = []
        for free in (0, 4, 16, 64, 256):
            with disk(folder / "disk") as target:
                verb.before(target)
                remount(target, f"size={max(used(target), PAGE) + free * 1024}")
                status, text = run(verb.words(target))
                outcomes.append(status)
                wrong += _judge(verb, f"{free} KiB free", status, text, target, bench)
        with disk(folder / "disk") as target:
            verb.before(target)
            remount(target, "ro")
            status, text = run(verb.words(target))
            outcomes.append(status)
            wrong += _judge(verb, "read-only", status, text, target, bench)
        print(f"umseg {verb.name:10}exit status on 0, 4, 16, 64, 256 KiB and read-only: {outcomes}", flush=True)
    return wrong


def _judge(verb: Verb, case: str, status: int, text: str, target: Path, bench: Bench) -> Iterator[str]:
    """What is wrong with how a command ended on a bad disk, and with the same command once there is room."""
    where = f"{verb.name}, {case}"
    if "Traceback" in text or status not in (0, 1, 2):
        yield f"{where}: exit status {status}: {text[-1500:]}"
    undisturbed = results(bench.done / verb.name)
    for path, found in results(target).items():
        if path.endswith((".nii.gz", ".safetensors", ".b2nd")) and found != undisturbed.get(path):
            yield f"{where}: {path} is half-written"
    yield from (f"{where}: {path}" for path in leftovers(target))
    remount(target, "rw,size=200m")
    status, text = run(verb.words(target))
    if status or results(target) != undisturbed:
        yield f"{where}: once there is room, exit status {status}: {text[-1500:]}"


@contextmanager
def disk(folder: Path) -> Iterator[Path]:
    """A file system of its own in memory."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        folder.rmdir()


def remount(folder: Path, options: str) -> None:
    """Change the options of a file system."""
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def used(folder: Path) -> int:
    """Bytes that are taken on a disk."""
    usage = shutil.disk_usage(folder)
    return usage.total - usage.free


def main() -> int:
    """Print what was done and what was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=0, help="Kills of each of the verbs.")
    parser.add_argument("--verbs", default="plan,train,predict", help="Verbs that are killed.")
    parser.add_argument("--shared", type=int, default=0, help="Kills of one of two predictions into one folder.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--disks", action="store_true", help="Full and read-only disks.")
    options = parser.parse_args()
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bench = Bench(folder)
        if options.kills:
            wrong += kill_verbs(bench, folder, options.kills, options.seed, options.verbs.split(","))
        if options.shared:
            wrong += kill_one_of_two(bench, folder, options.shared, options.seed)
        if options.disks:
            wrong += fill_disks(bench, folder)
    print(f"{len(wrong)} things are wrong.")
    for what in wrong:
        print(f"* {what}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
