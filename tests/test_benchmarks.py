"""The runner of the benchmarks, and the figures that stand in the documentation."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from benchmarks import __main__ as runner
from benchmarks import common
from benchmarks.__main__ import BENCHMARKS, DOCS, fill, main
from benchmarks.common import FOLDER, RESULTS, Row
from benchmarks.evaluating.blobs import blobs
from benchmarks.evaluating.cells import cells
from benchmarks.evaluating.organs import abdomen
from umseg.evaluation import dice, score_objects

NOT_RUN = {"__init__", "__main__", "common", "processes"}
ROWS: list[Row] = [{"what": "scan", "ms": 12.345}, {"what": "loop", "ms": None}]


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A benchmark that takes an option, and an empty place for records and pages."""
    module = ModuleType("benchmarks.scan")

    def measure() -> list[Row]:
        parser = argparse.ArgumentParser()
        parser.add_argument("--repeats", type=int)
        sys.stdout.write(f"repeats {parser.parse_args().repeats}\n")
        return ROWS

    module.main = measure  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "benchmarks.scan", module)
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    monkeypatch.setattr(runner, "DOCS", tmp_path)
    return tmp_path


def test_every_module_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    elsewhere = {name for name, benchmark in BENCHMARKS.items() if benchmark.folder}
    assert {path.stem for path in FOLDER.glob("*.py")} - NOT_RUN == set(BENCHMARKS) - elsewhere
    assert all((FOLDER / BENCHMARKS[name].folder / f"{name}.py").is_file() for name in elsewhere)
    assert main(["list"]) == 0
    listed = capsys.readouterr().out
    assert all(re.search(rf"^{name} ", listed, flags=re.MULTILINE) for name in BENCHMARKS)


def test_a_run_is_printed_and_recorded(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "scan", "--json", "--", "--repeats", "3"]) == 0
    printed = capsys.readouterr().out
    assert "repeats 3" in printed
    assert "12.3" in printed
    record = json.loads((results / "scan.json").read_text(encoding="utf-8"))
    assert record["arguments"] == ["--repeats", "3"]
    assert record["rows"] == ROWS
    assert record["output"] == ["repeats 3"]
    assert {"processor", "cores", "load"} <= record["machine"].keys()
    assert {"python", "torch"} <= record["versions"].keys()


def test_without_json_nothing_is_recorded(results: Path) -> None:
    assert main(["run", "scan"]) == 0
    assert not list(results.iterdir())


def test_a_file_can_be_named(results: Path) -> None:
    assert main(["run", "scan", "--json", str(results / "mine.json")]) == 0
    assert json.loads((results / "mine.json").read_text(encoding="utf-8"))["benchmark"] == "scan"


def test_rows_join_those_of_earlier_runs(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for rows, repeats in (
        ([{"part": "a", "what": "x", "ms": 1}, {"part": "a", "what": "y", "ms": 2}], "1"),
        ([{"part": "b", "what": "x", "ms": 3}], "2"),
        ([{"part": "a", "what": "y", "ms": 4}], "3"),
        ([{"part": "b", "what": "x", "ms": 5}], "2"),
    ):
        monkeypatch.setitem(sys.modules["benchmarks.scan"].__dict__, "main", lambda rows=rows: rows)
        main(["run", "scan", "--json", "--add", "--", "--repeats", repeats])
    record = json.loads((results / "scan.json").read_text(encoding="utf-8"))
    assert [(row["part"], row["what"], row["ms"]) for row in record["rows"]] == [
        ("a", "x", 1),
        ("a", "y", 4),
        ("b", "x", 5),
    ]
    assert [run["arguments"][1] for run in (*record["earlier"], record)] == ["1", "3", "2"]
    page = results / "page.md"
    page.write_text("<!-- benchmark: scan -->\n<!-- end -->\n", encoding="utf-8")
    main(["tables"])
    assert len(re.findall("--repeats", page.read_text(encoding="utf-8"))) == len(record["earlier"]) + 1


def test_unknown_names_are_refused() -> None:
    with pytest.raises(SystemExit):
        main(["run", "nothing"])


def test_tables_fill_the_marked_places(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["run", "scan", "--json"])
    page = results / "page.md"
    page.write_text("Before\n\n<!-- benchmark: scan -->\nold\n<!-- end -->\n\nAfter\n", encoding="utf-8")
    assert main(["tables", "--check"]) == 1
    assert "Out of date: page.md" in capsys.readouterr().out
    assert "old" in page.read_text(encoding="utf-8")
    assert main(["tables"]) == 0
    text = page.read_text(encoding="utf-8")
    assert "| what | ms |\n| --- | ---: |\n| scan | 12.3 |\n| loop |  |" in text
    assert "python -m benchmarks run scan" in text
    assert text.startswith("Before\n")
    assert text.endswith("<!-- end -->\n\nAfter\n")
    assert main(["tables", "--check"]) == 0


def test_the_documentation_shows_the_recorded_figures() -> None:
    pages = {page.name: page.read_text(encoding="utf-8") for page in DOCS.glob("*.md")}
    assert any("<!-- benchmark: " in text for text in pages.values())
    for name, text in pages.items():
        assert fill(text) == text, f"{name} is out of date: run python -m benchmarks tables"


def test_recorded_runs_are_of_benchmarks_that_exist() -> None:
    recorded = list(RESULTS.glob("*.json"))
    assert recorded
    for path in recorded:
        assert json.loads(path.read_text(encoding="utf-8"))["benchmark"] == path.stem
        assert path.stem in BENCHMARKS


def test_generated_label_maps_hold_what_is_measured() -> None:
    prediction, reference = abdomen((30, 128, 128), seed=0)
    for label in (prediction, reference):
        assert np.unique(label).tolist() == list(range(14))
    assert 0.5 < dice(prediction == 1, reference == 1) < 1
    found = score_objects(*cells(300, 100, seed=0), [0.5])[0]
    assert (found.TP + found.FN, found.TP + found.FP) == (100, 100)
    assert 50 < found.TP < 100
    for seed in range(4):
        first, second, spacing = blobs(seed)
        assert 0.3 < dice(first, second) < 1
        assert len(spacing) == first.ndim == 3


def test_places_on_the_machine_are_not_recorded(tmp_path: Path) -> None:
    arguments = ["--peer", str(tmp_path / "venv"), "--repeats", "3", "data/images"]
    recorded = common.record("scan", arguments, ROWS, "")["arguments"]
    assert recorded == ["--peer", "venv", "--repeats", "3", "data/images"]
