"""Another process that holds a claim on a folder."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PROGRAM = """
import sys
from pathlib import Path
from umseg.common.processes.claims import claim
with claim(Path(sys.argv[1]), sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def claimed_elsewhere(folder: Path, purpose: str) -> Iterator[subprocess.Popen[str]]:
    """Let another process hold a folder until the block ends, or until its standard input is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(folder), purpose],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            if not process.stdin.closed:
                process.stdin.close()
