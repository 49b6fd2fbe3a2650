from __future__ import annotations

import logging
import time

import pytest

from umseg.common.processes.patience import Patience, said_when_slow

log = logging.getLogger("umseg.test")


def test_messages_come_at_doubling_times(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    patience = Patience()
    due: list[int] = []
    for moment in range(0, 601, 10):
        now = moment
        due.extend([moment] if patience.due() else [])
    assert due == [60, 120, 240, 480]
    patience.restart()
    assert not patience.due()
    assert patience.until_due == 60


def test_slow_work_says_where_it_stands(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "umseg")
    with said_when_slow(log, lambda: "reading case_1", first=0.01):
        while not caplog.messages:
            time.sleep(0.01)
    assert caplog.messages[0] == "Still reading case_1 (0 s)."


def test_fast_work_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "umseg")
    with said_when_slow(log, "reading"):
        pass
    assert not caplog.messages
