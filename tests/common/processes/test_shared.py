"""Several processes work in one folder; what dead ones left keeps nobody from working."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tests.claimants import claimed_elsewhere, member_elsewhere
from umseg.common.errors import UserError
from umseg.common.processes import shared
from umseg.common.processes.shared import abandoned_since, claim_file, clear_claims, join, locked, members


def joined(folder: Path, terms: str = "same") -> list[bool]:
    alone: list[bool] = []
    with join(folder, "predicts", terms, alone.append):
        assert os.getpid() in [member.process.pid for member in members(folder)]
    return alone


def test_processes_with_the_same_terms_work_side_by_side(tmp_path: Path) -> None:
    assert joined(tmp_path) == [True]
    with member_elsewhere(tmp_path, "same") as other:
        assert joined(tmp_path) == [False]
        assert [member.process.pid for member in members(tmp_path)] == [other.pid]
    assert list(tmp_path.iterdir()) == []


def test_other_terms_are_refused_and_the_process_is_named(tmp_path: Path) -> None:
    with member_elsewhere(tmp_path, "others") as other:
        with pytest.raises(UserError, match="with other settings") as caught:
            joined(tmp_path)
        assert f"process {other.pid} on" in str(caught.value.found)
        assert len(members(tmp_path)) == 1


def test_what_a_killed_process_left_blocks_nobody(tmp_path: Path) -> None:
    with member_elsewhere(tmp_path, "others", "a.nii.gz") as other:
        assert claim_file(tmp_path / "a.nii.gz") is None
        other.kill()
        other.wait()
        assert abandoned_since(tmp_path / "a.nii.gz") is not None
        assert joined(tmp_path) == [True]
        claim = claim_file(tmp_path / "a.nii.gz")
        assert claim is not None
        claim.release()
    assert list(tmp_path.iterdir()) == []


def test_claims_of_killed_processes_are_cleared(tmp_path: Path) -> None:
    with member_elsewhere(tmp_path, "others", "a.nii.gz", "b.nii.gz") as other:
        other.kill()
        other.wait()
    clear_claims(tmp_path)
    assert abandoned_since(tmp_path / "a.nii.gz") is None
    joined(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_claimed_once_at_a_time(tmp_path: Path) -> None:
    holders, most = 0, 0
    guard = threading.Lock()

    def work() -> None:
        nonlocal holders, most
        for _ in range(50):
            while (claim := claim_file(tmp_path / "sub" / "a.nii.gz")) is None:
                pass
            with guard:
                holders += 1
                most = max(most, holders)
            with guard:
                holders -= 1
            claim.release()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert list((tmp_path / "sub").iterdir()) == []


def test_a_claim_may_be_released_by_another_thread(tmp_path: Path) -> None:
    claim = claim_file(tmp_path / "a")
    assert claim is not None
    thread = threading.Thread(target=claim.release)
    thread.start()
    thread.join()
    again = claim_file(tmp_path / "a")
    assert again is not None
    again.release()


def test_a_process_that_joins_waits_for_one_that_is_joining(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "SECONDS_TO_JOIN", 0.1)
    with claimed_elsewhere(tmp_path, "predicts"), pytest.raises(UserError, match="it predicts"):
        joined(tmp_path)


def test_an_error_at_the_beginning_leaves_nothing(tmp_path: Path) -> None:
    def refuse(_: bool) -> None:
        raise UserError("not here")

    with pytest.raises(UserError, match="not here"), join(tmp_path / "new", "predicts", "", refuse):
        pytest.fail("it began")
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_is_never_released_is_an_error(tmp_path: Path) -> None:
    with (
        locked(tmp_path / ".lock", 5),
        pytest.raises(UserError, match="does not let go"),
        locked(tmp_path / ".lock", 0.05),
    ):
        pytest.fail("it was locked twice")
    assert list(tmp_path.iterdir()) == []


def test_without_locks_work_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with join(tmp_path, "predicts", "same", lambda alone: None), locked(tmp_path / ".lock", 1):
        claim = claim_file(tmp_path / "a")
        assert claim is not None
        claim.release()
    assert list(tmp_path.iterdir()) == []
