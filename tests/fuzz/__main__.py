"""``python -m tests.fuzz --count 1000000``: mutations of every kind of file, as many as there is time for."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fuzz.harness import Outcomes, fuzz
from tests.fuzz.targets import TARGETS, mutation


def main() -> int:
    """Print a table of outcomes and every finding; the exit status is 1 if there is one."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=2000, help="Mutations, of all targets together.")
    parser.add_argument("--start", type=int, default=0, help="Number of the first mutation of every target.")
    parser.add_argument("--target", action="append", choices=TARGETS, help="Only this kind of file; may be repeated.")
    parser.add_argument("--jobs", type=int, default=1, help="Workers side by side.")
    parser.add_argument("--write", type=Path, help="Instead: write mutation --start of --target into this folder.")
    options = parser.parse_args()
    names = options.target or list(TARGETS)
    if options.write:
        _write(names[0], options.start, options.write)
        return 0
    total = sum(TARGETS[name].share for name in names)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.jobs) as pool:
        counts = {name: max(1, round(options.count * TARGETS[name].share / total)) for name in names}
        tasks = {
            name: pool.submit(fuzz, name, options.start, count, Path(folder) / name) for name, count in counts.items()
        }
        print(f"{'kind of file':18}{'mutations':>10}{'read':>8}{'refused':>9}{'findings':>10}", flush=True)
        found = 0
        for name, task in tasks.items():
            outcomes = task.result()
            _print(name, outcomes)
            found += len(outcomes.findings) + len(outcomes.strayed)
    return 1 if found else 0


def _print(name: str, outcomes: Outcomes) -> None:
    counts = outcomes.counts
    row = (sum(counts.values()), counts["read"], counts["refused"], len(outcomes.findings))
    print(f"{name:18}{row[0]:>10,}{row[1]:>8,}{row[2]:>9,}{row[3]:>10,}", flush=True)
    kinds: Counter[str] = Counter()
    for number, outcome, text in outcomes.findings:
        # The same fault is shown once, by its last line and the last lines of its code.
        kind = outcome + " " + re.sub(r"\d+|0x[0-9a-f]+|'[^']*'", "#", text.strip().splitlines()[-1] if text else "")
        kinds[kind] += 1
        if kinds[kind] == 1:
            print(f"  number {number} {outcome}:\n    " + "\n    ".join(text.strip().splitlines()[-14:]))
    for kind, count in kinds.items():
        print(f"  {count} x {kind}")
    for path in outcomes.strayed:
        print(f"  a file appeared outside: {path}")


def _write(target: str, number: int, folder: Path) -> None:
    """Write the samples of a target with one of them changed, to look at it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    TARGETS[target].write(folder)
    files = sorted(path for path in folder.glob(TARGETS[target].files) if path.is_file())
    path, content = mutation(target, number, Path.read_bytes, files)
    path.write_bytes(content)
    print(path)


if __name__ == "__main__":
    sys.exit(main())
