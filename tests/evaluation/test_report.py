from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.evaluation.factories import make_metrics
from umseg.common.errors import UserError
from umseg.common.text import LINE
from umseg.evaluation import format_table, write_metrics
from umseg.evaluation.records import Metrics, load_metrics

NAN = math.nan


@pytest.fixture
def metrics() -> Metrics:
    return make_metrics(
        {
            "a": [(0.5, 0.4), (NAN, NAN)],
            "b": [(0.9, 0.8), (0.3, 0.1)],
            "c": [(0.95, 0.9), (NAN, NAN)],
            "d": [(0.2, 0.1), (NAN, NAN)],
            "e": [(NAN, NAN), (NAN, NAN)],
        }
    )


def test_json_round_trip(metrics: Metrics, tmp_path: Path) -> None:
    document, _ = write_metrics(metrics, tmp_path / "new")
    again = load_metrics(document)
    assert isinstance(again, Metrics)
    assert again.model_dump_json() == metrics.model_dump_json()
    assert math.isnan(again.cases[0].classes["2"].scores["dsc"])
    assert again.classes["1"] == metrics.classes["1"]


def test_json_is_valid_and_nan_is_null(metrics: Metrics, tmp_path: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    document, _ = write_metrics(metrics, tmp_path)
    content = json.loads(document.read_text(encoding="utf-8"), parse_constant=refuse)
    assert content["cases"][0]["classes"]["2"]["scores"]["dsc"] is None
    assert content["cases"][4]["scores"]["dsc"] is None
    assert content["cases"][0]["classes"]["1"]["scores"]["dsc"] == 0.5
    assert content["schema_version"] == 2


def test_another_schema_version_is_refused(metrics: Metrics, tmp_path: Path) -> None:
    document, _ = write_metrics(metrics, tmp_path)
    document.write_text(document.read_text().replace('"schema_version": 2', '"schema_version": 3'))
    with pytest.raises(UserError, match="schema_version"):
        load_metrics(document)


def test_csv_has_one_row_per_case_and_class(metrics: Metrics, tmp_path: Path) -> None:
    _, table = write_metrics(metrics, tmp_path)
    with table.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [(row["case"], row["class"]) for row in rows] == [(case, name) for case in "abcde" for name in "12"]
    assert (rows[0]["dsc"], rows[0]["nsd"], rows[0]["label"], rows[0]["TP"]) == ("0.5", "0.4", "1", "3")
    assert (rows[1]["dsc"], rows[1]["nsd"], rows[1]["volume_ref_ml"]) == ("", "", "")
    for row, (case, name) in zip(rows, ((case, name) for case in metrics.cases for name in "12"), strict=True):
        expected = case.classes[name].scores["dsc"]
        assert float(row["dsc"] or "nan") == pytest.approx(expected, rel=0, abs=0, nan_ok=True)


def test_a_failed_write_leaves_the_old_table(metrics: Metrics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, table = write_metrics(metrics, tmp_path)
    before = table.read_bytes()

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(UserError, match="disk is full"):
        write_metrics(make_metrics({"a": [(0.1, 0.1), (0.1, 0.1)]}), tmp_path)
    assert table.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.csv", "metrics.json"]


def test_table(metrics: Metrics) -> None:
    lines = format_table(metrics).splitlines()
    assert [line.split()[0] for line in lines[:6]] == [
        "class",
        "-" * len(lines[1]),
        "1",
        "2",
        "-" * len(lines[1]),
        "mean",
    ]
    assert lines[2].split() == ["1", "4", "0.637", "±", "0.307", "0.550", "±", "0.320", "1", "mm"]
    assert lines[3].split() == ["2", "1", "0.300", "±", "0.000", "0.100", "±", "0.000", "1", "mm"]
    assert lines[5].split()[3:6] == ["4", "0.469", "±"]
    assert max(map(len, lines)) <= LINE
    text = " ".join(" ".join(lines).split())
    assert "neither reference nor prediction contains the class: 1 (1), 2 (4)." in text


def test_table_lists_the_three_worst_cases(metrics: Metrics) -> None:
    lines = format_table(metrics).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("worst cases"))
    assert [line.split() for line in lines[start + 2 :]] == [
        ["d", "0.200", "0.100"],
        ["a", "0.500", "0.400"],
        ["b", "0.600", "0.450"],
    ]


def test_table_with_different_tolerances_in_pixels() -> None:
    table = format_table(make_metrics({"a": [(0.5, 0.4), (0.3, 0.2)]}, tolerance=(2.0, 3.5), unit="px"))
    assert "2 px" in table
    assert "3.5 px" in table
    assert "Not scored" not in table


def test_table_of_nothing_evaluable() -> None:
    table = format_table(make_metrics({"a": [(NAN, NAN)]}))
    assert table.splitlines()[2].split() == ["1", "0", "-", "-", "1", "mm"]
    assert "worst" not in table


def test_table_of_distances() -> None:
    scores = {"a": [(1.0, 0.5)], "b": [(math.inf, NAN)], "c": [(4.0, 0.9)], "d": [(2.0, 0.8)]}
    text = format_table(make_metrics(scores, keys=["hd95", "precision"]))
    lines = text.splitlines()
    assert lines[0].split() == ["class", "cases", "HD95", "(mm)", "precision"]
    assert lines[2].split() == ["1", "4", "2.33", "±", "1.25", "0.733", "±", "0.170"]
    assert "HD95: infinite in some cases" in text
    assert "precision: not defined in some cases" in text
    assert text.count("not part of the mean: 1 (1).") == 2
    start = next(i for i, line in enumerate(lines) if line.startswith("worst cases"))
    assert [line.split() for line in lines[start + 2 :]] == [
        ["b", "inf", "-"],
        ["c", "4.00", "0.900"],
        ["d", "2.00", "0.800"],
    ]


def test_the_worst_difference_is_the_one_farthest_from_zero() -> None:
    scores = {"a": [(1.0,)], "b": [(-3.0,)], "c": [(2.0,)], "d": [(0.0,)]}
    lines = format_table(make_metrics(scores, keys=["volume_difference"])).splitlines()
    assert [line.split()[0] for line in lines[-3:]] == ["b", "c", "a"]
