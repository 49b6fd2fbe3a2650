"""``--json``: what a run of ``umseg predict`` did, for programs that start it (docs/outputs.md)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from umseg.common.record import Record, SparseRecord
from umseg.dataset.check.problems import Problem
from umseg.inference.outputs.statistics_records import CaseStatistics, Count

Status = Literal["written", "kept", "elsewhere", "failed"]
"""What became of a case: written by this run, kept from an earlier one, written meanwhile by another process, or none
of these."""

Setting = bool | int | float | str | tuple[str, ...] | None


class FoundClass(SparseRecord):
    """A class of which a case has voxels.

    Attributes:
        name: Its name.
        value: Its value in label maps, or the values of a region; null for objects, which are numbered.
        voxels: Number of voxels.
        volume_ml: Volume in millilitres; null in images of a single slice and where the size of a voxel is not known.
        objects: Number of objects, in an instance task.
    """

    sparse = ("objects",)

    name: str
    value: int | tuple[int, ...] | None
    voxels: Count
    volume_ml: float | None
    objects: Count | None = None


class Failure(Record):
    """Why there is no label map of a case.

    Attributes:
        problem: What is wrong.
        file: The file concerned.
        found: What was found there.
        expected: What was expected.
        remedy: What can be done.
    """

    problem: str
    file: str
    found: str
    expected: str
    remedy: str

    @classmethod
    def of(cls, problem: Problem) -> Failure:
        """The failure that a problem describes."""
        return cls(**problem.texts)


class CaseSummary(Record):
    """One case.

    Attributes:
        case: Its name.
        status: What became of it.
        inputs: The files of its image.
        outputs: The files that there are of it, the label map first; none if it failed.
        seconds: Time from reading to writing; null where this run did not write it.
        classes: What was found, if statistics were asked for; null otherwise.
        failure: Why it failed; null otherwise.
    """

    case: str
    status: Status
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    seconds: Annotated[float, Field(ge=0)] | None
    classes: tuple[FoundClass, ...] | None
    failure: Failure | None


class RunSummary(Record):
    """A run.

    Attributes:
        umseg_version: Version of umseg.
        models: The models that were averaged.
        device: The device that they ran on, e.g. ``cuda:0``.
        precision: Number format of the convolutions.
        inputs: What the user named.
        output: The output folder.
        settings: Options by their names.
        seconds: Time of the whole run.
        files: Files that belong to no single case, such as ``dataset.json`` and the tables of the statistics.
        cases: All cases in the order of their names.
    """

    schema_version: Literal[1] = 1
    umseg_version: str
    models: tuple[str, ...]
    device: str
    precision: str
    inputs: tuple[str, ...]
    output: str
    settings: dict[str, Setting]
    seconds: Annotated[float, Field(ge=0)]
    files: tuple[str, ...]
    cases: tuple[CaseSummary, ...]


def found_classes(statistics: CaseStatistics) -> tuple[FoundClass, ...]:
    """The classes of which a case has voxels; objects of one kind are taken together."""
    classes = [
        FoundClass(name=entry.name, value=entry.value, voxels=entry.voxels, volume_ml=entry.volume_ml)
        for entry in statistics.classes
        if entry.voxels
    ]
    for name in dict.fromkeys(entry.name for entry in statistics.objects):
        objects = [entry for entry in statistics.objects if entry.name == name]
        volumes = [entry.volume_ml for entry in objects if entry.volume_ml is not None]
        classes.append(
            FoundClass(
                name=name,
                value=None,
                voxels=sum(entry.voxels for entry in objects),
                volume_ml=sum(volumes) if volumes else None,
                objects=len(objects),
            )
        )
    return tuple(classes)
