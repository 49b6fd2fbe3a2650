"""The page about prediction is true: its commands and programs run, and it names every option of the command."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from tests.dataset.builder import write_image
from tests.inference.models import make_image, write_model
from umseg.cli.app import app
from umseg.dataset.io.images import read_label

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "predict.md").read_text(encoding="utf-8")
CASES = ("case_1", "case_2", "case_3")


def blocks(language: str) -> list[str]:
    fenced = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    return [text for name, text in fenced if name == language]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, images, and patients with images of the same names."""
    monkeypatch.chdir(tmp_path)
    write_model(Path("model"))
    for seed, case in enumerate(CASES):
        write_image(Path("images") / f"{case}_0000.nii.gz", make_image(seed=seed))
        write_image(Path("patients") / f"ward_{seed}" / "ct_0000.nii.gz", make_image(seed=seed))
    return tmp_path


def test_commands_run(place: Path) -> None:
    commands = [shlex.split(line) for block in blocks("bash") for line in block.splitlines()]
    assert len(commands) > 4
    for command in commands:
        assert command[:2] == ["umseg", "predict"]
        result = CliRunner().invoke(app, [*command[1:], "--quiet"])
        assert result.exit_code == 0, f"{command}\n{result.output}"
    for case in CASES:
        assert read_label(Path("predictions") / f"{case}.nii.gz").array.shape == (9, 10, 11)
        assert (Path("share") / f"{case}.nii.gz").exists()
    assert len(list(Path("by_patient").glob("ward_*/ct.nii.gz"))) == len(CASES)


def test_programs_run(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    programs = blocks("python")
    assert len(programs) > 3
    names: dict[str, Any] = {}
    for program in programs:
        exec(program, names)
    assert np.shape(names["label_map"]) == (16, 20, 20)
    assert [path.name for path in names["label_maps"]] == [f"{case}.nii.gz" for case in CASES]
    for name in ("itk", "nibabel"):
        written = read_label(Path(f"label_of_{name}.nii.gz")).array
        np.testing.assert_array_equal(written, read_label(names["label_maps"][0]).array)
    assert "(16, 20, 20)" in capsys.readouterr().out


def test_every_option_is_described() -> None:
    command = typer.main.get_command(app).get_command(None, "predict")  # type: ignore[attr-defined]
    options = [parameter for parameter in command.params if parameter.param_type_name == "option"]
    rows = set(re.findall(r"^\| `(--[\w-]+)` \|", PAGE, flags=re.MULTILINE))
    assert len(options) > 10
    for option in options:
        names = {*option.opts, *option.secondary_opts} - {"--help"}
        assert not names or names & rows, f"{option.opts} is not on the page"
    known = {name for option in options for name in (*option.opts, *option.secondary_opts)}
    assert rows <= known
