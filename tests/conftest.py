"""Fixtures shared by all rooms."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Tests run side by side: each takes one core, or they would wait for each other's threads.
    os.environ["OMP_NUM_THREADS"] = "1"

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's background job ignores Ctrl-C, and so would every process that a test starts and interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)

with contextlib.suppress(ImportError):  # the tests of kernels run without hypothesis
    from hypothesis import settings

    # A busy machine is slow: no test asserts on time.
    settings.register_profile("umseg", deadline=None)
    settings.load_profile("umseg")

SHARED = Path(__file__).resolve().parents[2] / "shared"
GOLDEN = Path(__file__).resolve().parent / "golden"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files of slow tests, so that no process is left with one of them at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def _all_messages() -> None:
    """Let every message through: a command that an earlier test ran decided that for the whole process."""
    logging.getLogger("umseg").setLevel(logging.NOTSET)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real data and reference values; tests on it skip where it is missing."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"real data and reference values are not at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def golden() -> Path:
    """Small recorded numbers that travel with the tests."""
    return GOLDEN
