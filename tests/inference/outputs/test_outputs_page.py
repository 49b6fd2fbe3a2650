"""docs/outputs.md describes every field of the statistics and of the summary, and none that there is not."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from tests.inference.outputs.segmented import describe
from tests.inference.outputs.test_statistics_tables import write_case
from umseg.common.record import Record
from umseg.inference.outputs.statistics_records import (
    CaseStatistics,
    ChannelStatistics,
    ClassStatistics,
    ObjectStatistics,
)
from umseg.inference.outputs.statistics_tables import gather_statistics
from umseg.inference.outputs.summary import CaseSummary, Failure, FoundClass, RunSummary

PAGE = Path(__file__).resolve().parents[3] / "docs" / "outputs.md"


def tables() -> list[dict[str, str]]:
    """The tables of the page whose first column is called field or column: names to meanings."""
    found = []
    for block in re.findall(r"(?:^\|.*\n)+", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE):
        header, _, *rows = [[cell.strip() for cell in line.strip("|\n").split(" | ")] for line in block.splitlines()]
        if header[0].strip("| ") in ("field", "column"):
            cells = [(row[0], " | ".join(row[1:])) for row in rows]
            found.append({name: meaning for names, meaning in cells for name in re.findall(r"`([^`]+)`", names)})
    return found


@pytest.mark.parametrize(
    ("table", "records"),
    [
        (0, [CaseStatistics]),
        (1, [ClassStatistics, ObjectStatistics]),
        (3, [RunSummary]),
        (4, [CaseSummary]),
    ],
)
def test_every_field_is_described(table: int, records: list[type[Record]]) -> None:
    fields = list(dict.fromkeys(field for record in records for field in record.model_fields))
    assert sorted(tables()[table]) == sorted(fields)


@pytest.mark.parametrize(
    ("table", "field", "record"),
    [(1, "intensities", ChannelStatistics), (4, "classes", FoundClass), (4, "failure", Failure)],
)
def test_fields_within_a_field_are_described(table: int, field: str, record: type[Record]) -> None:
    assert set(record.model_fields) <= set(re.findall(r"`([^`]+)`", tables()[table][field]))


def test_every_column_is_described(tmp_path: Path) -> None:
    write_case(tmp_path, "a")
    write_case(tmp_path, "b", describe({"background": 0, "cell": 1}, task="instance"))
    gather_statistics(tmp_path)
    with (tmp_path / "statistics.csv").open(encoding="utf-8") as handle:
        columns = next(csv.reader(handle))
    assert set(columns) == set(tables()[2]) - {"area_mm2", "confidence"}
