from __future__ import annotations

import logging
import time

import pytest

from umseg.common.processes.progress import Progress


def run(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, seconds_each: float, quiet: bool
) -> list[str]:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    caplog.set_level(logging.INFO, "umseg")
    with Progress(100, "Preprocessing", quiet=quiet) as progress:
        for _ in range(100):
            now += seconds_each
            progress.update()
    return caplog.messages


def test_long_work_states_its_time_first_and_a_line_every_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(caplog, monkeypatch, 1.5, quiet=False) == [
        "Preprocessing 100 cases: about 2 min.",
        "Preprocessing: 45 of 100 cases, about 82 s to go.",
        "Preprocessing: 85 of 100 cases, about 22 s to go.",
        "Preprocessing: 100 cases in 2 min.",
    ]
    assert "\r" not in capsys.readouterr().err, "no bar, because there is no terminal"


@pytest.mark.parametrize(("seconds_each", "quiet"), [(0.001, False), (1.5, True)])
def test_short_or_quiet_work_says_nothing(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, seconds_each: float, quiet: bool
) -> None:
    assert run(caplog, monkeypatch, seconds_each, quiet) == []
