"""One process at a time works in a folder; what a dead one left behind blocks nobody."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tests.claimants import claimed_elsewhere
from umseg.common.errors import UserError
from umseg.common.processes import claims
from umseg.common.processes.claims import claim, clear_folder, holder


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "_GRACE", 0.1)


def test_the_second_process_is_refused_and_told_whom_it_meets(tmp_path: Path) -> None:
    with claimed_elsewhere(tmp_path, "trains this fold") as other:
        with pytest.raises(UserError, match="it trains this fold") as caught, claim(tmp_path, "trains this fold"):
            pytest.fail("the folder is held")
        assert f"process {other.pid} on" in str(caught.value.found)
        assert "since 20" in str(caught.value.found)
        found = holder(tmp_path)
        assert found is not None
        assert (found.pid, found.purpose) == (other.pid, "trains this fold")
    assert holder(tmp_path) is None


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    with claim(tmp_path / "new" / "fold", "trains this fold"):
        assert (tmp_path / "new" / "fold").is_dir()
    assert list(tmp_path.iterdir()) == []
    with claim(tmp_path / "kept", "predicts"):
        (tmp_path / "kept" / "result").touch()
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["result"]


def test_what_a_killed_process_left_blocks_nobody(tmp_path: Path) -> None:
    with claimed_elsewhere(tmp_path, "plans") as other:
        other.kill()
        other.wait()
        assert list(tmp_path.iterdir())
        assert holder(tmp_path) is None
        with claim(tmp_path, "plans"):
            found = holder(tmp_path)
            assert found is not None
            assert found.pid == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_waiting_ends_with_the_other_process(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with claimed_elsewhere(tmp_path, "plans this data set") as other:
        assert other.stdin is not None
        threading.Timer(0.3, other.stdin.close).start()
        with claim(tmp_path, "plans this data set", wait=60):
            other.wait()
    assert f"Waiting for another process, which plans this data set: process {other.pid} on" in caplog.text


def test_waiting_has_an_end(tmp_path: Path) -> None:
    with (
        claimed_elsewhere(tmp_path, "plans"),
        pytest.raises(UserError, match="it plans"),
        claim(tmp_path, "plans", wait=0.2),
    ):
        pytest.fail("the folder is held")


def test_a_process_may_claim_again_what_it_holds(tmp_path: Path) -> None:
    with claim(tmp_path, "trains this fold"):
        with claim(tmp_path, "validates this fold"):
            pass
        found = holder(tmp_path)
        assert found is not None
        assert found.purpose == "trains this fold"
    assert holder(tmp_path) is None


def test_a_link_leads_to_the_same_claim(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    try:
        (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    except OSError:
        pytest.skip("links cannot be made here")
    with claim(tmp_path / "real", "predicts"), claim(tmp_path / "link", "predicts"):
        assert holder(tmp_path / "link") == holder(tmp_path / "real") is not None
    assert list((tmp_path / "real").iterdir()) == []


def test_the_claim_ends_with_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="x"), claim(tmp_path, "plans"):
        raise ValueError("x")
    assert holder(tmp_path) is None


def test_clearing_keeps_the_claim(tmp_path: Path) -> None:
    with claim(tmp_path, "trains this fold"):
        (tmp_path / "validation").mkdir()
        (tmp_path / "validation" / "a.nii.gz").touch()
        (tmp_path / "log.csv").touch()
        clear_folder(tmp_path)
        assert holder(tmp_path) is not None
        assert all(path.name.startswith(".umseg-claim") for path in tmp_path.iterdir())
    clear_folder(tmp_path / "missing")


def test_without_locks_work_goes_on_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with claim(tmp_path, "plans"):
        (tmp_path / "done").touch()
    assert "cannot be locked ([Errno 37] No locks available)" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["done"]


def test_where_nothing_can_be_written_nothing_is_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(30, "Read-only file system")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with claim(tmp_path, "plans"):
        pass
    assert not caplog.text


def test_where_the_lock_cannot_be_tried_the_record_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with claimed_elsewhere(tmp_path, "trains this fold") as other:
        record = tmp_path / ".umseg-claim.json"
        content = json.loads(record.read_text())

        def refuse(*_: Any, **__: Any) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(FileLock, "acquire", refuse)
        found = holder(tmp_path)
        assert found is not None
        assert found.pid == other.pid
        record.write_text(json.dumps({**content, "pid": 2**22 + 1}))
        assert holder(tmp_path) is None
        record.write_text(json.dumps({**content, "pid": 2**22 + 1, "host": "elsewhere"}))
        found = holder(tmp_path)
        assert found is not None
        assert found.host == "elsewhere"
