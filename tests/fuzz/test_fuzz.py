"""2,000 changed files: each gives a result or a clear error, in time and in bounds of memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.harness import fuzz
from tests.fuzz.targets import TARGETS

MUTATIONS = 2000
TOTAL = sum(target.share for target in TARGETS.values())


@pytest.mark.parametrize("name", TARGETS)
def test_samples_are_read(name: str, tmp_path: Path) -> None:
    """Mutations of a file that is refused anyway would show little."""
    target = TARGETS[name]
    folder = tmp_path / "work"
    folder.mkdir()
    target.write(folder)
    files = sorted(path for path in folder.glob(target.files) if path.is_file())
    assert files
    for path in files:
        target.use(path, folder)


@pytest.mark.parametrize("name", TARGETS)
def test_every_change_gives_a_result_or_a_clear_error(name: str, tmp_path: Path) -> None:
    count = round(MUTATIONS * TARGETS[name].share / TOTAL)
    outcomes = fuzz(name, 0, count, tmp_path / name)
    assert not outcomes.findings, outcomes.findings[0][2]
    assert not outcomes.strayed
    assert outcomes.counts["read"] + outcomes.counts["refused"] == count
