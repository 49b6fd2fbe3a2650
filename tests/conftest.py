"""Fixtures shared by all rooms."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"
GOLDEN = Path(__file__).resolve().parent / "golden"


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
