"""``umseg predict``: what it prints, how it ends, and what it refuses before torch is imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.dataset.builder import names_in, write_image
from tests.inference.models import COLOUR_FILES, make_image, write_model
from umseg.cli.app import app
from umseg.cli.predict_options import parse_part
from umseg.common.errors import UserError

CASES = ("a", "b", "c", "d")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "nnunet__small")


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    for seed, case in enumerate(CASES):
        write_image(tmp_path / "in" / f"{case}_0000.nii.gz", make_image(seed=seed))
    return tmp_path / "in"


def run(model: Path, inputs: Path, output: Path, *more: str) -> Any:
    arguments = ["--model", str(model), "--input", str(inputs), "--output", str(output), "--quiet", *more]
    return CliRunner().invoke(app, ["predict", *arguments])


def test_the_same_command_again_writes_what_is_missing(model: Path, inputs: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    first = run(model, inputs, output)
    assert first.exit_code == 0, first.output
    assert f"Wrote 4 label maps to {output} in" in first.output
    (output / "b.nii.gz").unlink()
    assert f"Wrote 1 label map to {output} in" in run(model, inputs, output).output
    again = run(model, inputs, output)
    assert f"Wrote 0 label maps to {output} in" in again.output
    assert "; 4 kept." in again.output
    assert "kept" not in run(model, inputs, output, "--no-resume").output


def test_a_corrupt_case_among_others(
    model: Path, inputs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (inputs / "b_0000.nii.gz").write_bytes(b"no image")
    done = run(model, inputs, tmp_path / "out")
    assert done.exit_code == 1
    assert "Case b was not segmented" in caplog.text, "it is told when it fails"
    assert "Case b was not segmented" in done.output, "it is told at the end"
    (listed,) = json.loads((tmp_path / "out" / "failures.json").read_text())["failures"]
    assert (listed["case"], listed["file"]) == ("b", str(inputs / "b_0000.nii.gz"))
    write_image(inputs / "b_0000.nii.gz", make_image())
    assert "; 3 kept." in run(model, inputs, tmp_path / "out").output
    assert not (tmp_path / "out" / "failures.json").exists()


def test_that_none_could_be_segmented_is_told_by_exit_code_and_file(model: Path, inputs: Path, tmp_path: Path) -> None:
    for case in CASES:
        (inputs / f"{case}_0000.nii.gz").write_bytes(b"no image")
    done = run(model, inputs, tmp_path / "out")
    assert done.exit_code == 2
    listed = json.loads((tmp_path / "out" / "failures.json").read_text())["failures"]
    assert [failure["case"] for failure in listed] == list(CASES)


def test_parts_of_the_cases(model: Path, inputs: Path, tmp_path: Path) -> None:
    assert run(model, inputs, tmp_path / "out", "--part", "1/3").exit_code == 0
    assert [path.name for path in sorted((tmp_path / "out").glob("*.gz"))] == ["b.nii.gz"]
    nothing = run(model, inputs, tmp_path / "out", "--part", "5/6")
    assert nothing.exit_code == 0
    assert "Wrote 0 label maps" in nothing.output


def test_folders_within_folders(model: Path, inputs: Path, tmp_path: Path) -> None:
    write_image(inputs / "ward_3" / "a_0000.nii.gz", make_image())
    for _ in range(2):
        # The predictions are in the input folder, and are not taken for images the second time.
        done = run(model, inputs, inputs / "out", "--recursive")
        assert done.exit_code == 0, done.output
    assert "; 5 kept." in done.output
    label_maps = [f"{case}.nii.gz" for case in CASES]
    assert names_in(inputs / "out") == [*label_maps, "dataset.json", *COLOUR_FILES, "predictions.jsonl", "ward_3"]
    assert names_in(inputs / "out" / "ward_3") == ["a.nii.gz"]
    lines = (inputs / "out" / "predictions.jsonl").read_text().splitlines()
    assert "ward_3/a.nii.gz" in {json.loads(line)["file"] for line in lines}


def test_options_are_shown_in_groups() -> None:
    text = CliRunner().invoke(app, ["predict", "--help"]).output
    places = [text.index(f"{group}:") for group in ("What to segment", "Output", "How to segment", "Memory and speed")]
    assert places == sorted(places)
    assert "--no-resume" in text


@pytest.mark.parametrize("text", ["4/4", "1", "a/b", "-1/2", "1/0", "0/99999999999"])
def test_what_is_no_part(text: str) -> None:
    with pytest.raises(UserError, match="--part is not valid"):
        parse_part(text)
    assert parse_part(None) is None
    assert parse_part(" 3/4") == (3, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--part", "4/4"], "--part is not valid"),
        (["--step", "3"], "not a valid fraction"),
        (["--input", "nothing"], "The input does not exist"),
        (["--device", "gpu"], "Unknown device"),
        (["--folds", "7"], "a fold has no trained weights"),
    ],
)
def test_wrong_options_are_refused_before_torch_is_imported(
    model: Path, inputs: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from umseg.cli.app import app\n"
        "result = CliRunner().invoke(app, sys.argv[2:])\n"
        "assert sys.argv[1] in result.output, result.output\n"
        "sys.exit(10 * ('torch' in sys.modules) + result.exit_code)"
    )
    words = ["predict", "--model", str(model), "--input", str(inputs), "--output", str(tmp_path / "out"), *options]
    done = subprocess.run([sys.executable, "-c", code, message, *words], check=False)
    assert done.returncode == 2
