"""Worker processes of a process, found from outside."""

from __future__ import annotations

import contextlib

import psutil


def count_spawned(parent: psutil.Process) -> int:
    """How many children multiprocessing has spawned; short-lived children of other kinds may end meanwhile."""
    found = 0
    for child in parent.children():
        with contextlib.suppress(psutil.Error):
            found += "spawn_main" in " ".join(child.cmdline())
    return found
