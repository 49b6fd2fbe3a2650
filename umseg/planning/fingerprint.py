"""``fingerprint.json``: what planning needs to know about the images (docs/rules.md, Fingerprint)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from umseg.common.errors import UserError
from umseg.common.names import Component
from umseg.common.processes.parallel import map_cases
from umseg.common.record import FieldError, Record
from umseg.dataset.check.case import expected_values
from umseg.dataset.check.digest import case_digest, dataset_digest
from umseg.dataset.check.problems import Problem
from umseg.dataset.check.report import report_problems
from umseg.dataset.dataset import Case, Dataset
from umseg.dataset.io.images import read_geometry
from umseg.dataset.io.orientation import AxisCodes, stored_axes
from umseg.planning.classes import ClassStatistics, describe_classes
from umseg.planning.consistency import ChannelNumber, Length, Voxels
from umseg.planning.findings import CaseFindings
from umseg.planning.intensity import NUM_SAMPLES, IntensityStatistics, describe
from umseg.planning.measurement import Measurement, measure_case
from umseg.planning.sights import MOST_PICTURES, CaseSight

log = logging.getLogger(__name__)

__all__ = ["Fingerprint", "IntensityStatistics", "extract_fingerprint"]


class Fingerprint(Record):
    """What planning needs to know about a data set, under nnU-Net's field names.

    Attributes:
        dataset_name: Folder name of the data set.
        spacings: Voxel size (z, y, x) in mm of each case.
        shapes_after_crop: Shape (z, y, x) in voxels of each case, after cropping to the nonzero region.
        foreground_intensity_properties_per_channel: Statistics by channel index, which is a string.
        median_relative_size_after_cropping: Median over the cases of the fraction of voxels that cropping leaves.
        case_ids: Names of the cases, in the order of ``spacings`` and ``shapes_after_crop``.
        classes: Size of each class and number of cases that have it, by class name.
        case_digests: Digest of the bytes of each case's files, in the order of ``case_ids``.
        content_hash: Digest of the bytes of all files that were measured.
        orientations: Axis codes in which each image is stored, e.g. RAS, in the order of ``case_ids``; None where the
            files state no place in space. Shapes and spacings are those after turning (``Dataset.orientation``).
        findings: What is remarkable about each case, in the order of ``case_ids``; empty in files of earlier versions.
    """

    schema_version: Literal[1] = 1
    dataset_name: Component
    spacings: Annotated[tuple[tuple[Length, Length, Length], ...], Field(min_length=1)]
    shapes_after_crop: tuple[tuple[Voxels, Voxels, Voxels], ...]
    foreground_intensity_properties_per_channel: dict[ChannelNumber, IntensityStatistics]
    median_relative_size_after_cropping: Annotated[float, Field(ge=0, le=1)]
    case_ids: tuple[Component, ...]
    classes: dict[str, ClassStatistics] = Field(default_factory=dict)
    case_digests: tuple[str, ...] = ()
    content_hash: str = ""
    orientations: tuple[AxisCodes | None, ...] = ()
    findings: tuple[CaseFindings, ...] = ()

    @model_validator(mode="after")
    def _is_consistent(self) -> Fingerprint:
        cases = len(self.spacings)
        # Earlier versions did not record the last three.
        for field in ("shapes_after_crop", "case_ids", "case_digests", "orientations", "findings"):
            length = len(getattr(self, field))
            if length != cases and (length or field in ("shapes_after_crop", "case_ids")):
                raise FieldError(field, f"{length} entries", f"{cases} entries, one per case, as spacings has")
        if len(set(self.case_ids)) < cases:
            raise FieldError("case_ids", "a name that occurs twice", "a different name for each case")
        return self

    @property
    def findings_by_case(self) -> dict[str, CaseFindings]:
        """The findings by case id; empty where an earlier version measured the data set."""
        return dict(zip(self.case_ids, self.findings, strict=False))


def extract_fingerprint(
    dataset: Dataset,
    workers: int = 0,
    quiet: bool = False,
    num_samples: int = NUM_SAMPLES,
    report: Callable[[Sequence[Problem]], None] | None = None,
    earlier: Fingerprint | None = None,
    kept: Path | None = None,
    see: Callable[[Sequence[CaseSight]], None] | None = None,
) -> Fingerprint:
    """Check and measure every training case, in one pass over the files.

    Args:
        dataset: The data set.
        workers: Number of processes; 0 works in this process.
        quiet: Whether to show no progress bar.
        num_samples: Number of foreground intensities drawn from the whole data set, with replacement.
        report: Function that is given all problems of the cases, and raises if planning cannot go on with them. The
            default is ``report_problems``.
        earlier: Earlier fingerprint, which is returned if no byte of the data set has changed since. Its problems were
            reported when it was measured, and are not reported again.
        kept: Folder in which the measurements of the cases are kept, and looked for first, so that a run that was
            killed goes on where it stopped.
        see: Function that is given what the page of the data set shows of each case; it is not called where the earlier
            fingerprint is returned.

    Raises:
        UserError: Some cases are damaged or inconsistent (all are reported together), or there is no foreground.
    """
    report = report or partial(report_problems, folder=dataset.folder)
    if earlier is not None and len(earlier.findings) == len(earlier.case_ids):
        digests = _current_digests(dataset, quiet)
        if digests is not None and earlier.content_hash == dataset_digest(dataset, digests):
            log.info("Data set unchanged; reusing its fingerprint.")
            # Earlier versions did not record the orientation.
            orientations = earlier.orientations or tuple(_stored_axes(case) for case in dataset.cases)
            return earlier.model_copy(update={"case_digests": digests, "orientations": orientations})
    samples = int(num_samples // max(len(dataset.cases), 1))
    work = partial(
        measure_case,
        description=dataset.description,
        axes=dataset.orientation,
        samples=samples,
        kept=kept,
        picture=len(dataset.cases) <= MOST_PICTURES,
    )
    measurements: list[Measurement] = []
    problems: list[Problem] = []
    names = [case.id for case in dataset.cases]
    results = map_cases(work, dataset.cases, names, workers=workers, title="Fingerprint", quiet=quiet)
    for measurement, case_problems in results:
        problems += case_problems
        if measurement is not None:
            measurements.append(measurement)
    report(problems)
    if not any(draw.values.size for measurement in measurements for draw in measurement.draws):
        raise UserError(
            "No case has any foreground: there is nothing to learn.",
            file=dataset.folder,
            found="label maps that are 0 everywhere",
            expected=expected_values(dataset.description),
            remedy="Check how the label maps were exported.",
        )
    if see is not None:
        see([measurement.sight for measurement in measurements])
    return Fingerprint(
        dataset_name=dataset.name,
        spacings=tuple(m.spacing for m in measurements),
        shapes_after_crop=tuple(m.shape for m in measurements),
        foreground_intensity_properties_per_channel={
            str(channel): describe([m.draws[channel] for m in measurements])
            for channel in range(dataset.description.num_channels)
        },
        median_relative_size_after_cropping=float(np.median([m.relative_size for m in measurements])),
        case_ids=tuple(names),
        classes=describe_classes([m.classes for m in measurements]),
        case_digests=tuple(m.digest for m in measurements),
        content_hash=dataset_digest(dataset, [m.digest for m in measurements]),
        orientations=tuple(m.axes for m in measurements),
        findings=tuple(m.findings for m in measurements),
    )


def _stored_axes(case: Case) -> str | None:
    return stored_axes(case.images[0], read_geometry(case.images[0]))


def _current_digests(dataset: Dataset, quiet: bool) -> tuple[str, ...] | None:
    """The digests of all cases; None if a file cannot be read, which the check of the cases reports for each."""
    # The digests are computed in this process: reading bytes is the disk's work, and starting processes takes longer
    # than reading most data sets.
    names = [case.id for case in dataset.cases]
    try:
        return tuple(map_cases(case_digest, dataset.cases, names, workers=0, title="Look for changes", quiet=quiet))
    except UserError:
        return None
