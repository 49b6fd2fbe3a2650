"""The two tables hold every case whose file is there, whoever wrote it and in whatever order."""

from __future__ import annotations

import csv
import json
import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from tests.inference.outputs.segmented import describe
from umseg.common.files import write_text
from umseg.dataset.description import DatasetDescription
from umseg.dataset.io.grid import Geometry
from umseg.inference.outputs.statistics import case_statistics, statistics_file
from umseg.inference.outputs.statistics_records import CaseStatistics, Statistics
from umseg.inference.outputs.statistics_tables import gather_statistics


def write_case(folder: Path, case: str, description: DatasetDescription | None = None, voxels: int = 3) -> None:
    """The file of a case whose organ has some voxels; there is no tumour."""
    label_map = np.zeros((2, 3, 4), np.uint8)
    label_map.reshape(-1)[:voxels] = 1
    grid = Geometry((4, 3, 2), (0.1, 1.0, 2.0), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel()))
    description = description or describe()
    image = np.ones((description.num_channels, 2, 3, 4), np.float32)
    case_statistics(case, label_map, image, grid, description, axes="LPS").save(statistics_file(case, folder))


def read_csv(folder: Path) -> list[dict[str, str]]:
    with (folder / "statistics.csv").open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_the_tables_have_every_case_and_class(tmp_path: Path) -> None:
    for case in ("b", "a"):
        write_case(tmp_path, case)
    paths = gather_statistics(tmp_path)
    assert paths == (tmp_path / "statistics.json", tmp_path / "statistics.csv")
    whole = Statistics.load(paths[0], "")
    assert [case.case for case in whole.cases] == ["a", "b"]
    rows = read_csv(tmp_path)
    assert [(row["case"], row["name"], row["value"], row["voxels"]) for row in rows] == [
        ("a", "organ", "1", "3"),
        ("a", "tumour", "2", "0"),
        ("b", "organ", "1", "3"),
        ("b", "tumour", "2", "0"),
    ]
    first = rows[0]
    assert float(first["volume_ml"]) == 0.0006
    assert (first["x_start"], first["x_stop"], first["y_stop"], first["z_stop"]) == ("0", "3", "1", "1")
    assert (first["extent_x_mm"], first["centroid_x"], first["centroid_r_mm"]) == ("0.3", "1", "-0.1")
    assert (first["components"], first["touches_border"], first["mean_CT"], first["sd_CT"]) == ("1", "1", "1", "0")
    assert not {"area_mm2", "diameter_px", "confidence"} & set(first)
    assert (rows[1]["x_start"], rows[1]["mean_CT"], rows[1]["touches_border"]) == ("", "", "0")


def test_the_tables_are_json_of_one_case_a_line(tmp_path: Path) -> None:
    for case in ("a", "b", "c"):
        write_case(tmp_path, case)
    gather_statistics(tmp_path)
    text = (tmp_path / "statistics.json").read_text(encoding="utf-8")
    assert len(text.splitlines()) == 5
    own = json.loads(statistics_file("b", tmp_path).read_text(encoding="utf-8"))
    assert json.loads(text)["cases"][1] == own


def test_cases_of_several_kinds_share_the_columns(tmp_path: Path) -> None:
    write_case(tmp_path, "a")
    write_case(tmp_path, "b", describe(channels=("T1", "T1")))
    write_case(tmp_path, "c", describe({"background": 0, "cell": 1}, task="instance"))
    gather_statistics(tmp_path)
    rows = read_csv(tmp_path)
    assert [key for key in rows[0] if key.startswith("mean")] == ["mean_CT", "mean_T1_0", "mean_T1_1"]
    assert [row["diameter_px"] != "" for row in rows] == [False, False, False, False, True]
    assert [row["components"] for row in rows] == ["1", "0", "1", "0", ""]


def test_a_second_run_adds_its_cases(tmp_path: Path) -> None:
    write_case(tmp_path, "a")
    gather_statistics(tmp_path)
    write_case(tmp_path, "b")
    write_case(tmp_path, "a", voxels=5)
    gather_statistics(tmp_path)
    assert [(row["case"], row["voxels"]) for row in read_csv(tmp_path)[::2]] == [("a", "5"), ("b", "3")]


def test_a_damaged_file_is_left_out_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_case(tmp_path, "a")
    write_text(statistics_file("b", tmp_path), '{"schema_version": 1, "case": "b"')
    write_text(statistics_file("c", tmp_path), '{"schema_version": 7}')
    gather_statistics(tmp_path)
    assert [case.case for case in Statistics.load(tmp_path / "statistics.json", "").cases] == ["a"]
    assert {row["case"] for row in read_csv(tmp_path)} == {"a"}
    assert "b.json" in caplog.text
    assert "c.json" in caplog.text


def test_what_a_killed_run_left_is_no_case(tmp_path: Path) -> None:
    write_case(tmp_path, "a")
    (tmp_path / "statistics" / ".tmp-0a1b2c3d-b.json").write_text("{", encoding="utf-8")
    gather_statistics(tmp_path)
    assert [case.case for case in Statistics.load(tmp_path / "statistics.json", "").cases] == ["a"]


def test_cases_of_folders_have_the_path_before_their_name(tmp_path: Path) -> None:
    write_case(tmp_path / "ward 1", "scan")
    write_case(tmp_path / "ward 2" / "bed", "scan")
    write_case(tmp_path / "other run", "scan")
    (tmp_path / "other run" / "predictions.jsonl").write_text("")
    (tmp_path / "predictions.jsonl").write_text("")
    gather_statistics(tmp_path)
    expected = ["ward 1/scan", "ward 2/bed/scan"]
    assert [case.case for case in Statistics.load(tmp_path / "statistics.json", "").cases] == expected
    assert sorted({row["case"] for row in read_csv(tmp_path)}) == expected
    assert not (tmp_path / "statistics").exists()


def test_without_statistics_there_are_no_tables(tmp_path: Path) -> None:
    assert gather_statistics(tmp_path) == ()
    assert not list(tmp_path.iterdir())


def _predict(folder: Path, measured: CaseStatistics, cases: list[str]) -> None:
    """What a process does that shares the folder: its cases one by one, and at its end the tables."""
    for case in cases:
        measured.model_copy(update={"case": case}).save(statistics_file(case, folder))
    gather_statistics(folder)


def test_the_last_of_two_processes_gathers_the_cases_of_both(tmp_path: Path) -> None:
    write_case(tmp_path, "a")
    measured = CaseStatistics.load(statistics_file("a", tmp_path), "")
    parts = [[f"case_{number:02}" for number in range(part, 40, 2)] for part in range(2)]
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_predict, args=(tmp_path, measured, part)) for part in parts]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    expected = sorted(["a", *parts[0], *parts[1]])
    assert [case.case for case in Statistics.load(tmp_path / "statistics.json", "").cases] == expected
    assert sorted({row["case"] for row in read_csv(tmp_path)}) == expected
    assert not list(tmp_path.rglob(".tmp-*"))
