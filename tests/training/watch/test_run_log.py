from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from umseg.common.errors import UserError
from umseg.training.watch.run_log import RunLog

STAMP = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  ", flags=re.MULTILINE)


def said(path: Path) -> list[str]:
    return STAMP.sub("", path.read_text(encoding="utf-8")).splitlines()


def test_what_is_said_and_what_others_log_is_kept_and_a_resumed_run_adds_to_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "log.txt"
    with RunLog(path) as run_log:
        run_log("Epoch 1/2")
        logging.getLogger("umseg.elsewhere").warning("A step was skipped: %d", 7)
        run_log.note("only in\nthe file")
    logging.getLogger("umseg.elsewhere").warning("not part of the run")
    with RunLog(path) as run_log:
        run_log("Resuming in epoch 2.")
    lines = said(path)
    assert lines[:3] == ["Epoch 1/2", "A step was skipped: 7", "only in"]
    assert lines[3].strip() == "the file"
    assert lines[4:] == ["Resuming in epoch 2."]
    assert "only in" not in caplog.text


def test_an_error_is_its_last_word(tmp_path: Path) -> None:
    def fail(error: BaseException) -> None:
        with RunLog(tmp_path / "log.txt"):
            raise error

    for error in (UserError("The disk is full."), KeyboardInterrupt(), ValueError("odd")):
        with pytest.raises(type(error)):
            fail(error)
    assert said(tmp_path / "log.txt") == ["error: The disk is full.", "interrupted", "ValueError: odd"]


def test_without_a_file_nothing_is_written(tmp_path: Path) -> None:
    with RunLog(None) as run_log:
        run_log("Epoch 1/2")
    assert not list(tmp_path.iterdir())
