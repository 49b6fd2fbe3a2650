from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner, Result

from tests.dataset.convert.test_instances import add, colour, instances
from tests.dataset.convert.test_msd import write_task
from umseg.cli.app import app


def convert(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["convert", *map(str, arguments), "--workers", "0", "--quiet"])


def test_msd(tmp_path: Path) -> None:
    result = convert("msd", write_task(tmp_path / "Task01"), tmp_path / "Dataset001")
    assert result.exit_code == 0, result.output
    made = tmp_path / "Dataset001"
    counts = "2 training cases and 1 test case of 1 channel (CT)"
    assert result.output == f"{counts} in {made}. Next: umseg plan {made}\n"


def test_instances(tmp_path: Path) -> None:
    for name in ("a", "b"):
        add(tmp_path / "s", name, colour(0), instances(1, 2))
    (tmp_path / "s" / "manifest.csv").write_text("nr,part,patient\na,train,p\nb,test,p\n")
    made = tmp_path / "my data"
    columns = ("--case-column", "nr", "--split-column", "part", "--group-column", "patient")
    result = convert("instances", tmp_path / "s", made, "--object-name", "cell", *columns)
    assert result.exit_code == 0, result.output
    counts = "1 training case and 1 test case of 3 channels (red, green, blue)"
    assert result.output == f"{counts} in {made}. Next: umseg plan '{made}'\n"
    assert (made / "groups.csv").read_text() == "case,group\na,p\n"
    assert '"cell": 1' in (made / "dataset.json").read_text()


def test_user_errors_end_in_code_2(tmp_path: Path) -> None:
    for command in ("msd", "instances"):
        result = convert(command, tmp_path, tmp_path / "d")
        assert result.exit_code == 2
        assert "does not exist" in result.output
        assert "Traceback" not in result.output
