"""The measurements of one case, which a killed plan keeps on disk for the next one."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

import umseg
from umseg.common.errors import UserError
from umseg.common.files import atomic_path
from umseg.common.record import Record
from umseg.dataset.check.case import check_case
from umseg.dataset.check.digest import case_digest, digest_of_record
from umseg.dataset.check.problems import Problem
from umseg.dataset.crop import box_slices, nonzero_region
from umseg.dataset.dataset import Case
from umseg.dataset.description import DatasetDescription
from umseg.dataset.training_case import TrainingCase, read_training_case
from umseg.planning.classes import ClassSizes, measure_classes
from umseg.planning.findings import CaseFindings, constant_channels, share_outside
from umseg.planning.intensity import Draw, draw_foreground
from umseg.planning.sights import CaseSight, see_case

_FIELD = "measurement"


@dataclass(frozen=True)
class Measurement:
    """The measurements of one case.

    Attributes:
        spacing: Voxel size (z, y, x) in mm.
        shape: Shape (z, y, x) after cropping to the nonzero region.
        relative_size: Share of the voxels that cropping leaves.
        draws: Intensities drawn from the foreground, one draw per channel.
        classes: Sizes of the classes.
        findings: What is remarkable about the case.
        digest: Digest of the bytes of its files.
        axes: Axis codes in which the image is stored; None if its files state no place in space.
        sight: What the page of the data set shows of the case.
    """

    spacing: tuple[float, float, float]
    shape: tuple[int, int, int]
    relative_size: float
    draws: tuple[Draw, ...]
    classes: ClassSizes
    findings: CaseFindings
    digest: str
    axes: str | None
    sight: CaseSight


def measure_case(
    case: Case,
    description: DatasetDescription,
    axes: str | None,
    samples: int,
    kept: Path | None = None,
    picture: bool = True,
) -> tuple[Measurement | None, list[Problem]]:
    """Read, check and measure one case.

    Args:
        case: The case, with a label map.
        description: Description of the data set.
        axes: Axis codes to which image and label map are turned before; None leaves them as they are stored.
        samples: Number of foreground intensities to draw per channel.
        kept: Folder of measurements that are kept; those of the same files are used again.
        picture: Whether a small picture of the case is made.

    Returns:
        The measurements, None if the case has an error, and its problems.
    """
    if case.label is None:
        raise ValueError(f"case {case.id} has no label file")
    file = None if kept is None else _file(kept, case, description, axes, samples)
    earlier = None if file is None else _load(file)
    if earlier is not None:
        return earlier
    try:
        found = read_training_case(case, description.num_channels, axes)
        digest = case_digest(case)
    except UserError as error:
        return None, [Problem.from_error(case.id, case.images[0], error)]
    problems = check_case(case, found.image, found.label, description)
    if any(problem.severity == "error" for problem in problems):
        return None, problems
    measurement = _measure(found, description, samples, digest, picture)
    if file is not None:
        _save(file, measurement, problems)
    return measurement, problems


def _measure(
    found: TrainingCase, description: DatasetDescription, samples: int, digest: str, picture: bool
) -> Measurement:
    image, label = found.image, found.label
    box, region = nonzero_region(image.array)
    z, y, x = box_slices(box)
    cropped = image.array[:, z, y, x]
    depth, height, width = cropped.shape[1:]
    foreground = label.array > 0
    classes = measure_classes(label.array, image.spacing, description)
    draws = draw_foreground(cropped, foreground[z, y, x], samples)
    return Measurement(
        spacing=image.spacing,
        shape=(depth, height, width),
        relative_size=depth * height * width / label.array.size,
        draws=draws,
        classes=classes,
        findings=CaseFindings(
            classes=tuple(name for name, size in classes.sizes.items() if size > 0),
            constant=constant_channels(image.array),
            outside=share_outside(_learnt(foreground, label.array, description), box, region),
        ),
        digest=digest,
        axes=found.stored_axes,
        sight=see_case(image.array, label.array, image.spacing, description, classes.sizes, draws, picture=picture),
    )


def _learnt(
    foreground: NDArray[np.bool_], label: NDArray[np.integer[Any]], description: DatasetDescription
) -> NDArray[np.bool_]:
    ignored = description.ignore_label
    return foreground if ignored is None else foreground & (label != ignored)


class _Kept(Record):
    """A measurement as it is kept, without the draws, which are arrays."""

    schema_version: Literal[1] = 1
    spacing: tuple[float, float, float]
    shape: tuple[int, int, int]
    relative_size: float
    sizes: dict[str, float]
    objects: int | None
    findings: CaseFindings
    digest: str
    axes: str | None
    sight: CaseSight
    warnings: tuple[dict[str, str], ...]


class _Question(Record):
    """All that a measurement depends on."""

    version: str
    files: tuple[str, ...]
    digest: str
    description: DatasetDescription
    axes: str | None
    samples: int


def _file(folder: Path, case: Case, description: DatasetDescription, axes: str | None, samples: int) -> Path | None:
    """The file of a case's measurement, whose name depends on all that it depends on; None if it cannot be read."""
    try:
        digest = case_digest(case)
    except UserError:
        return None
    files = tuple(str(file) for file in (*case.images, case.label))
    question = _Question(
        version=umseg.__version__, files=files, digest=digest, description=description, axes=axes, samples=samples
    )
    return folder / f"{digest_of_record(question)}.safetensors"


def _save(file: Path, measurement: Measurement, problems: list[Problem]) -> None:
    kept = _Kept(
        spacing=measurement.spacing,
        shape=measurement.shape,
        relative_size=measurement.relative_size,
        sizes=measurement.classes.sizes,
        objects=measurement.classes.objects,
        findings=measurement.findings,
        digest=measurement.digest,
        axes=measurement.axes,
        sight=measurement.sight,
        warnings=tuple(_words(problem) for problem in problems),
    )
    tensors: dict[str, NDArray[Any]] = {}
    for channel, draw in enumerate(measurement.draws):
        tensors[f"values_{channel}"] = draw.values
        tensors[f"counts_{channel}"] = draw.counts
    content = save(tensors, {_FIELD: kept.to_json()})
    # Keeping is a convenience: a full disk stops planning only where something is needed.
    with contextlib.suppress(UserError), atomic_path(file) as temporary:
        temporary.write_bytes(content)


def _load(file: Path) -> tuple[Measurement, list[Problem]] | None:
    """The measurement in a file; None where it is missing or damaged."""
    try:
        with safe_open(file, framework="numpy") as tensors:
            kept = _Kept.from_json(json.loads((tensors.metadata() or {})[_FIELD]), file, "")
            draws = tuple(
                Draw(tensors.get_tensor(f"values_{channel}"), tensors.get_tensor(f"counts_{channel}"))
                for channel in range(len(tensors.keys()) // 2)
            )
    except (OSError, SafetensorError, UserError, ValueError, KeyError, TypeError):
        return None
    measurement = Measurement(
        spacing=kept.spacing,
        shape=kept.shape,
        relative_size=kept.relative_size,
        draws=draws,
        classes=ClassSizes(kept.sizes, kept.objects),
        findings=kept.findings,
        digest=kept.digest,
        axes=kept.axes,
        sight=kept.sight,
    )
    return measurement, [_warning(**words) for words in kept.warnings]


def _words(problem: Problem) -> dict[str, str]:
    return {name: str(value) for name, value in asdict(problem).items() if name != "severity"}


def _warning(*, file: str, **words: str) -> Problem:
    return Problem(file=Path(file), severity="warning", **words)
