"""The process that reads changed files. It may crash, hang or fill memory: the harness sees it and starts another."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import logging
import os
import shutil
import sys
import traceback
import warnings
from pathlib import Path
from typing import IO

from tests.fuzz.targets import TARGETS, mutation
from umseg.common.errors import UserError

MEMORY = 2 * 2**30
"""How much memory a single file may make the process take, bytes."""

_MODULES = ("tifffile", "nibabel", "SimpleITK", "pydicom", "umseg.dataset.io.images", "umseg.workflows.plan")


def main() -> None:
    """Read mutations ``START`` to ``END`` of a target; report each on standard output as a line of JSON."""
    target, folder, start, end = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    report = os.fdopen(os.dup(1), "w", buffering=1)
    # Libraries write to standard output, which is for reports.
    os.dup2(2, 1)
    faulthandler.enable()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    for module in _MODULES:
        __import__(module)
    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(folder / "samples", work)
    files = sorted(path for path in work.glob(TARGETS[target].files) if path.is_file())
    originals = {path: path.read_bytes() for path in files}
    _limit_memory()
    for number in range(start, end):
        path, content = mutation(target, number, originals.__getitem__, files)
        path.write_bytes(content)
        _report(report, number, "begin")
        _report(report, number, *_outcome(target, path, work))
        path.write_bytes(originals[path])


def _outcome(target: str, path: Path, folder: Path) -> tuple[str, str]:
    """``read``, ``refused`` or ``failed``, and what was said."""
    try:
        TARGETS[target].use(path, folder)
    except UserError as error:
        return "refused", str(error)
    except BaseException:
        return "failed", traceback.format_exc()
    return "read", ""


def _report(report: IO[str], number: int, outcome: str, text: str = "") -> None:
    report.write(json.dumps([number, outcome, text]) + "\n")


def _limit_memory() -> None:
    """Let allocations fail beyond the limit, where the system can do that."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    main()
