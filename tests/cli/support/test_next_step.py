from __future__ import annotations

from pathlib import Path

from umseg.cli.support.next_step import next_step, of_workspace
from umseg.workspace import DEFAULT_ROOT


def test_words_are_quoted_for_a_shell() -> None:
    line = next_step("predict", "--model", Path("my models") / "a", ["--input", "FOLDER"])
    assert line == "Next: umseg predict --model 'my models/a' --input FOLDER".replace("/", str(Path("/"))[-1])


def test_the_default_workspace_need_not_be_named(tmp_path: Path) -> None:
    assert of_workspace(DEFAULT_ROOT.absolute() / "Dataset001_A") == ["Dataset001_A"]
    assert of_workspace(tmp_path / "Dataset001_A") == ["Dataset001_A", "--workspace", str(tmp_path)]
