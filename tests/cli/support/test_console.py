from __future__ import annotations

import logging
from pathlib import Path

import pytest

import umseg.cli
from umseg.cli.support.console import _Visible, say

TEXT, SHOWN = "class \x1b]0;title\x07 of\na \x9bfile \u202e", "class \\x1b]0;title\\x07 of\na \\x9bfile \\u202e"


@pytest.mark.parametrize("err", [False, True])
def test_printed_texts_send_no_commands_to_the_terminal(capsys: pytest.CaptureFixture[str], err: bool) -> None:
    say(TEXT, err=err)
    printed = capsys.readouterr()
    assert (printed.err if err else printed.out) == SHOWN + "\n"


def test_messages_send_no_commands_to_the_terminal() -> None:
    record = logging.LogRecord("umseg", logging.INFO, "x.py", 1, "class %s", (TEXT.removeprefix("class "),), None)
    assert _Visible("%(message)s").format(record) == SHOWN


def test_every_verb_prints_through_it() -> None:
    modules = sorted(Path(umseg.cli.__file__).parent.rglob("*.py"))
    assert len(modules) > 5
    assert [module.name for module in modules if "typer.echo(" in module.read_text(encoding="utf-8")] == [
        "app.py",
        "console.py",
    ]
