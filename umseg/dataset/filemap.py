"""The field ``dataset`` of ``dataset.json``: cases whose files are named one by one."""

from __future__ import annotations

from pathlib import Path

from pydantic import ConfigDict, Field, field_validator

from umseg.common.names import FileText, check_component
from umseg.common.record import Record
from umseg.dataset.check.problems import Problem
from umseg.dataset.description import read_description_fields
from umseg.dataset.io.registry import is_image
from umseg.dataset.listing import is_lost
from umseg.dataset.naming import channels_problem


class FileEntry(Record):
    """The files of one case: absolute paths, or relative to the data set's folder.

    Attributes:
        images: One file per channel in order, or one file with all channels; an image may be a folder.
        label: The label map.
    """

    # Other tools may say more about a case.
    model_config = ConfigDict(extra="ignore")

    images: tuple[FileText, ...] = Field(min_length=1)
    label: FileText


class _FileMap(Record):
    dataset: dict[str, FileEntry] = Field(min_length=1)

    @field_validator("dataset")
    @classmethod
    def _ids_are_file_names(cls, entries: dict[str, FileEntry]) -> dict[str, FileEntry]:
        # Files of the workspace are named after the cases: an id must not lead out of their folder.
        wrong = [name for name in entries if not name or name.startswith(".") or set(name) & set('/\\:*?"<>|\0')]
        for name in entries:
            check_component(name)
        if wrong:
            raise ValueError(f"case ids that can be file names; '{wrong[0]}' cannot")
        return entries


def load_file_map(path: Path) -> dict[str, FileEntry] | None:
    """Read the file map of a ``dataset.json``; None if it has none.

    Raises:
        UserError: The file is missing, or the map is wrong.
    """
    fields = read_description_fields(path)
    if fields.get("dataset") is None:
        return None
    return _FileMap.from_json({"dataset": fields["dataset"]}, path, "Correct the file map in dataset.json.").dataset


def mapped_files(
    entries: dict[str, FileEntry], folder: Path, num_channels: int
) -> tuple[dict[str, tuple[tuple[Path, ...], Path]], list[Problem]]:
    """The files of each case that has them all, sorted by case, and what is wrong with the others.

    Args:
        entries: The file map.
        folder: Folder of the data set, where relative paths start.
        num_channels: Number of channels that the data set declares.
    """
    cases: dict[str, tuple[tuple[Path, ...], Path]] = {}
    problems: list[Problem] = []
    for name, entry in sorted(entries.items()):
        images, label = tuple(folder / image for image in entry.images), folder / entry.label
        found = [_missing(name, path) for path in (*images, label) if not is_lost(path) and not is_image(path)]
        if not found:
            wrong = channels_problem(name, images, num_channels, f"{num_channels} images (channel_names)")
            found = [wrong] if wrong else []
        problems += found
        if not found:
            cases[name] = images, label
    return cases, problems


def _missing(case: str, path: Path) -> Problem:
    return Problem(
        "A file of the file map does not exist.",
        case,
        path,
        found="a folder" if path.is_dir() else "no file",
        expected="a file; relative paths start at the data set's folder",
        remedy="Put the file back, or correct its path in dataset.json.",
    )
