"""Do image, label map and dataset.json of a case agree? (facts 1.1, "dataset check")"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from umseg.common.errors import UserError
from umseg.dataset.dataset import Case
from umseg.dataset.description import DatasetDescription
from umseg.dataset.images import SPACING_TOLERANCE, Geometry, Image, LabelMap

log = logging.getLogger(__name__)

_SHOWN = 10
_SHOWN_WIDTH = 160
_DIRECTION_TOLERANCE = 1e-3
# In voxels: rounding in a file header, not a shift that anyone would see.
_ORIGIN_TOLERANCE = 0.01


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with one case.

    Attributes:
        problem: The kind of problem, the same words for every case.
        case: The case's id.
        file: The file concerned.
        found: What was found there.
        expected: What was expected.
        remedy: What the user can do.
        severity: An error stops; a warning is logged.
    """

    problem: str
    case: str
    file: Path
    found: str
    expected: str
    remedy: str
    severity: Literal["error", "warning"] = "error"

    @classmethod
    def from_error(cls, case: Case, error: UserError) -> Problem:
        """A file that could not be read is one problem among others."""
        return cls(
            problem=error.problem,
            case=case.id,
            file=Path(error.file) if error.file else case.images[0],
            found=error.found or "",
            expected=error.expected or "",
            remedy=error.remedy or "",
        )


def check_case(case: Case, image: Image, label: LabelMap, description: DatasetDescription) -> list[Problem]:
    """Compare what was read of a training case with its label map and with ``dataset.json``.

    Errors: number of channels, NaN or infinity in the image, label values that are not declared, shape and spacing of
    image and label map. Warnings: origin and direction.
    """
    if case.label is None:
        raise ValueError(f"case {case.id} has no label file")
    return [
        *check_image(case, image, description.num_channels),
        *_check_values(case, case.label, label, description),
        *_check_grid(case, case.label, image, label),
    ]


def check_image(case: Case, image: Image, num_channels: int) -> list[Problem]:
    """Number of channels, and NaN or infinity."""
    problems = []
    if image.array.shape[0] != num_channels:
        problems.append(
            Problem(
                "The image has the wrong number of channels.",
                case.id,
                case.images[0],
                found=f"{image.array.shape[0]} channels",
                expected=f"{num_channels} channels (channel_names in dataset.json)",
                remedy="Remove surplus channels (e.g. the transparency of a PNG) or correct channel_names.",
            )
        )
    for channel, values in enumerate(image.array):
        # A sum is finite only if every term is; it needs no array of its own.
        with np.errstate(invalid="ignore"):
            total = np.sum(values, dtype=np.float64)
        if not np.isfinite(total):
            count = int(np.count_nonzero(~np.isfinite(values)))
            problems.append(
                Problem(
                    "The image has values that are not numbers.",
                    case.id,
                    case.images[min(channel, len(case.images) - 1)],
                    found=f"{count} voxels that are NaN or infinite in channel {channel}",
                    expected="finite values",
                    remedy="Replace NaN and infinite values, e.g. by the value of the background.",
                )
            )
    return problems


def _check_values(case: Case, file: Path, label: LabelMap, description: DatasetDescription) -> list[Problem]:
    # Declared labels are 0, 1, 2, ... without a gap, so the extremes tell; the list is made only for the message.
    low, high = int(label.array.min()), int(label.array.max())
    if low >= 0 and high < description.num_classes:
        return []
    declared = set(description.labels.values())
    unknown = [int(value) for value in np.unique(label.array) if int(value) not in declared]
    more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
    return [
        Problem(
            "The label map has values that dataset.json does not declare.",
            case.id,
            file,
            found="values " + ", ".join(map(str, unknown[:5])) + more,
            expected=f"values 0 to {description.num_classes - 1}",
            remedy="Declare these labels in dataset.json, or renumber or remove them in the label maps.",
        )
    ]


def _check_grid(case: Case, file: Path, image: Image, label: LabelMap) -> list[Problem]:
    shape = image.array.shape[1:]
    if label.array.shape != shape:
        return [
            Problem(
                "Image and label map differ in shape.",
                case.id,
                file,
                found=f"label {_triple(label.array.shape)} (z, y, x)",
                expected=f"{_triple(shape)}, as the image",
                remedy="Pair the right files, or resample the label map to the image's grid.",
            )
        ]
    if not np.allclose(label.spacing, image.spacing, rtol=SPACING_TOLERANCE, atol=0):
        return [
            Problem(
                "Image and label map differ in spacing.",
                case.id,
                file,
                found=f"label {_triple(label.spacing)} mm (z, y, x)",
                expected=f"{_triple(image.spacing)} mm, as the image",
                remedy="Correct the spacing in the header of the wrong file.",
            )
        ]
    return _check_placement(case, file, image.geometry, label.geometry)


def _check_placement(case: Case, file: Path, image: Geometry, label: Geometry) -> list[Problem]:
    shift = 0.0
    if image.dimensions == label.dimensions:
        distance = np.abs(np.subtract(label.origin, image.origin))
        shift = float(np.max(distance / np.asarray(image.spacing)))
        turned = not np.allclose(label.direction, image.direction, rtol=0, atol=_DIRECTION_TOLERANCE)
    else:
        turned = True
    if shift <= _ORIGIN_TOLERANCE and not turned:
        return []
    return [
        Problem(
            "Image and label map differ in origin or direction.",
            case.id,
            file,
            found="another direction" if turned else f"origin {_triple(label.origin)} mm",
            expected="the image's" if turned else f"{_triple(image.origin)} mm, as the image",
            remedy="Voxels are paired by their index; check that label and image overlap in a viewer.",
            severity="warning",
        )
    ]


def raise_for_problems(problems: Sequence[Problem], folder: Path | None = None) -> None:
    """Log the warnings, one line per kind; raise the errors together, on one screen.

    Args:
        problems: Of all cases.
        folder: The data set, for the message.

    Raises:
        UserError: There is at least one error.
    """
    for kind, of_kind in _by_kind([p for p in problems if p.severity == "warning"]).items():
        log.warning("%s %d cases, first: %s. %s", kind, len(of_kind), _line(of_kind[0]), of_kind[0].remedy)
    errors = [p for p in problems if p.severity == "error"]
    if not errors:
        return
    if len(errors) == 1:
        (only,) = errors
        raise UserError(
            f"Case {only.case}: {only.problem}",
            file=only.file,
            found=only.found,
            expected=only.expected,
            remedy=only.remedy,
        )
    kinds = _by_kind(errors)
    lines = [f"The data set has {len(errors)} errors in {len({p.case for p in errors})} cases."]
    lines += [f"  {len(of_kind)} x {kind}" for kind, of_kind in _few_kinds(kinds)]
    lines += [f"  - {_line(p)}" for p in _first_of_each(kinds)]
    if len(errors) > _SHOWN:
        lines.append(f"  - and {len(errors) - _SHOWN} more")
    remedies = Counter(p.remedy for p in errors if p.remedy)
    raise UserError("\n".join(lines), file=folder, remedy=" ".join(text for text, _ in remedies.most_common(3)))


def _by_kind(problems: Sequence[Problem]) -> dict[str, list[Problem]]:
    kinds: dict[str, list[Problem]] = {}
    for problem in problems:
        kinds.setdefault(problem.problem, []).append(problem)
    return kinds


def _few_kinds(kinds: dict[str, list[Problem]]) -> list[tuple[str, list[Problem]]]:
    return sorted(kinds.items(), key=lambda item: -len(item[1]))[:_SHOWN]


def _first_of_each(kinds: dict[str, list[Problem]]) -> list[Problem]:
    """The problems to show: the kinds take turns, so that a frequent one does not hide the others."""
    longest = max(len(of_kind) for of_kind in kinds.values())
    turns = [of_kind[turn] for turn in range(longest) for of_kind in kinds.values() if turn < len(of_kind)]
    return turns[:_SHOWN]


def _line(problem: Problem) -> str:
    text = f"{problem.case}: {problem.file.name}: {problem.found}"
    if problem.expected:
        text += f"; expected {problem.expected}"
    return text if len(text) <= _SHOWN_WIDTH else text[: _SHOWN_WIDTH - 3] + "..."


def _triple(values: Sequence[float]) -> str:
    return " x ".join(f"{value:g}" for value in values)
