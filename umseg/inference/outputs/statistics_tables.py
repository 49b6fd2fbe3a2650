"""``statistics.json`` and ``statistics.csv``: the statistics of all cases of a folder, from the file of each case."""

from __future__ import annotations

import csv
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from umseg.common.errors import UserError
from umseg.common.files import atomic_path
from umseg.common.processes.claims import claim
from umseg.inference.outputs.statistics import FOLDER
from umseg.inference.outputs.statistics_records import (
    CaseStatistics,
    ClassStatistics,
    ObjectStatistics,
    Statistics,
    StructureStatistics,
)
from umseg.inference.pipeline.record import RECORD

log = logging.getLogger(__name__)

JSON_TABLE, CSV_TABLE = "statistics.json", "statistics.csv"
_REMEDY = "Remove the file, and run `umseg predict --statistics` again."
_PATIENCE = 600.0
"""Seconds to wait for another process that gathers the statistics of the same folder."""
_COLUMNS = (
    "case", "name", "value", "voxels", "volume_ml", "area_mm2", "diameter_mm", "diameter_px",
    *(f"{axis}_{end}" for axis in "xyz" for end in ("start", "stop")),
    *(f"extent_{axis}_mm" for axis in "xyz"),
    *(f"centroid_{axis}" for axis in "xyz"),
    *(f"centroid_{side}_mm" for side in "ras"),
    "components", "largest_component_voxels", "touches_border", "confidence",
)  # fmt: skip
"""The order of the columns; those of the channels stand behind them."""

Row = dict[str, object]


def gather_statistics(folder: Path) -> tuple[Path, ...]:
    """Write the two tables of a folder of predictions anew, from the files of all cases that are there.

    Every process that predicts into the folder does this at its end, one after the other: the last of them finds the
    files of all. One case is in memory at a time. Cases of folders within the folder, as they are there where images of
    several folders are segmented, have the path of their folder before their name.

    Args:
        folder: The folder of predictions.

    Returns:
        The files of the tables; none where no case has statistics.

    Raises:
        UserError: A table cannot be written.
    """
    if not _case_files(folder):
        return ()
    with claim(folder / FOLDER, "gathers the statistics of its cases", wait=_PATIENCE):
        sound, columns = _write_json(folder / JSON_TABLE, _case_files(folder))
        _write_csv(folder / CSV_TABLE, sound, columns)
    return folder / JSON_TABLE, folder / CSV_TABLE


def _case_files(folder: Path) -> dict[str, Path]:
    """The name of every case with its file, in the order of the names; not those of other predictions further down."""
    files: dict[str, Path] = {}
    for place, folders, names in os.walk(folder):
        here = Path(place)
        if here != folder and RECORD in names:
            folders.clear()
        elif here.name == FOLDER:
            above = here.parent.relative_to(folder)
            found = (name for name in names if name.endswith(".json") and not name.startswith("."))
            files |= {(above / name.removesuffix(".json")).as_posix(): here / name for name in found}
    return dict(sorted(files.items()))


def rows(case: CaseStatistics) -> Iterator[Row]:
    """The rows of ``statistics.csv`` for a case, each with those of its columns that are not empty."""
    for entry in (*case.classes, *case.objects):
        cells = {"case": case.case, **_cells(entry)}
        yield {column: _text(cell) for column, cell in cells.items() if cell is not None}


def _text(cell: object) -> object:
    """A cell; nine digits of a fraction, which is more than is measured."""
    return f"{cell:.9g}" if isinstance(cell, float) else cell


def _cells(entry: StructureStatistics) -> Row:
    values = (entry.value,) if isinstance(entry.value, int) else entry.value
    cells: Row = {
        "name": entry.name,
        "value": " ".join(map(str, values)),
        "voxels": entry.voxels,
        "volume_ml": entry.volume_ml,
        "area_mm2": entry.area_mm2,
        "touches_border": int(entry.touches_border),
    }
    if isinstance(entry, ClassStatistics):
        cells["components"] = entry.components
        cells["largest_component_voxels"] = entry.largest_component_voxels
        cells["confidence"] = entry.confidence
    if isinstance(entry, ObjectStatistics):
        cells["diameter_px"], cells["diameter_mm"] = entry.diameter_px, entry.diameter_mm
    for axis in "xyz":
        for title, place in ((f"extent_{axis}_mm", entry.extent_mm), (f"centroid_{axis}", entry.centroid)):
            cells[title] = None if place is None else getattr(place, axis)
        span = None if entry.box is None else getattr(entry.box, axis)
        cells[f"{axis}_start"], cells[f"{axis}_stop"] = span or (None, None)
    for side, place_mm in zip("ras", entry.centroid_ras_mm or (), strict=False):
        cells[f"centroid_{side}_mm"] = place_mm
    names = [channel.channel for channel in entry.intensities]
    for number, channel in enumerate(entry.intensities):
        title = channel.channel if names.count(channel.channel) == 1 else f"{channel.channel}_{number}"
        for measure in ("mean", "sd", "min", "max"):
            cells[f"{measure}_{title}"] = getattr(channel, measure)
    return cells


def _write_json(path: Path, files: Mapping[str, Path]) -> tuple[dict[str, Path], list[str]]:
    """Write ``statistics.json``.

    Returns:
        The files that could be used (a warning names each of the others), and those columns of the other table that
        are not empty.
    """
    sound: dict[str, Path] = {}
    columns: dict[str, None] = {}
    version = Statistics.model_fields["schema_version"].default
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as handle:
        handle.write(f'{{"schema_version": {version}, "cases": [')
        for name, file in files.items():
            try:
                case = _load(name, file)
            except UserError as error:
                log.warning("The tables of the statistics lack a case. %s", error)
                continue
            handle.write(("," if sound else "") + "\n" + case.model_dump_json())
            sound[name] = file
            for row in rows(case):
                columns |= dict.fromkeys(row)
        handle.write("\n]}\n")
    others = [column for column in columns if column not in _COLUMNS]
    return sound, [column for column in _COLUMNS if column in columns] + others


def _write_csv(path: Path, files: Mapping[str, Path], columns: Sequence[str]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as handle:
        table = csv.DictWriter(handle, columns, lineterminator="\n")
        table.writeheader()
        for name, file in files.items():
            table.writerows(rows(_load(name, file)))


def _load(name: str, file: Path) -> CaseStatistics:
    return CaseStatistics.load(file, _REMEDY).model_copy(update={"case": name})
