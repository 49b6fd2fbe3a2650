"""Other processes that hold claims on folders and files."""

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
    with _holding(_PROGRAM, str(folder), purpose) as process:
        yield process


@contextmanager
def _holding(program: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
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


_MEMBER = """
import sys
from pathlib import Path
from umseg.common.processes.shared import claim_file, join
folder, terms, names = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
with join(folder, "predicts into this folder", terms, lambda alone: None):
    claims = [claim_file(folder / name) for name in names]
    print("held", flush=True)
    sys.stdin.read()
    for claim in claims:
        claim.release()
"""


@contextmanager
def member_elsewhere(folder: Path, terms: str, *claimed: str) -> Iterator[subprocess.Popen[str]]:
    """Let another process join a folder and claim files there, until the block ends or its standard input is closed."""
    with _holding(_MEMBER, str(folder), terms, *claimed) as process:
        yield process
