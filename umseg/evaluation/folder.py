"""Evaluation of a folder of label maps against a folder of references."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.common.parallel import map_cases
from umseg.dataset.channels import NATURAL_ENDINGS
from umseg.dataset.description import load_description, require_plain_labels
from umseg.dataset.grid import SPACING_TOLERANCE, Geometry
from umseg.dataset.images import LabelMap, read_label
from umseg.evaluation.aggregate import summarise, summarise_case
from umseg.evaluation.case import score_labels
from umseg.evaluation.metrics import CaseMetrics, Metrics
from umseg.evaluation.pairs import Pair, find_pairs, listed

log = logging.getLogger(__name__)

# Origins closer than this part of a voxel are the same position written by different tools.
_ORIGIN_TOLERANCE = 0.1
# What 16 bits hold. Larger values are not classes but damage, or numbers of instances.
_HIGHEST_LABEL = 65535


@dataclass(frozen=True)
class _ScoredPair:
    """A case's scores, and whether both files claim to lie in the same place."""

    metrics: CaseMetrics
    aligned: bool


def evaluate_folder(
    predictions: Path,
    reference: Path,
    *,
    labels: dict[str, int] | None = None,
    tolerance: float | Sequence[float] = 1.0,
    file_ending: str | None = None,
    workers: int = 0,
    quiet: bool = False,
    cases: Collection[str] | None = None,
) -> Metrics:
    """Score every label map of a folder against the reference of the same file name.

    Args:
        predictions: Folder of predicted label maps.
        reference: Folder of reference label maps.
        labels: Class name to label value (a background of 0 is left out). By default those of ``dataset.json`` in
            the prediction folder, else beside the reference folder, else every value found, named "1", "2", ...
        tolerance: Of the NSD, in mm (pixels for PNG, TIFF, ...): one for all classes, or one per class in ascending
            order of the label values.
        file_ending: Ending of the label maps, with the dot. By default the one ending found in the reference folder.
        workers: Number of processes; 0 works in this one.
        quiet: No progress bar.
        cases: Names of the cases wanted (file names without ending); other files in either folder are left out. By
            default every file of the two folders must have its counterpart in the other.

    Returns:
        Scores per case and class and their summary.

    Raises:
        UserError: A file is missing in one of the folders or unreadable; two files differ in shape or spacing; a
            label map has a value that is not in ``labels``; the labels or the tolerances are not valid.
    """
    pairs = find_pairs(Path(predictions), Path(reference), file_ending, cases)
    if labels is None:
        labels = _described_labels(Path(predictions), Path(reference))
    if labels is None:
        names = [pair.case for pair in pairs]
        found = map_cases(_foreground_values, pairs, names, workers=workers, title="Finding labels", quiet=quiet)
        labels = {str(value): value for value in sorted(frozenset().union(*found))}
    return evaluate_pairs(pairs, labels, tolerance=tolerance, workers=workers, quiet=quiet)


def evaluate_pairs(
    pairs: Sequence[Pair],
    labels: Mapping[str, int],
    *,
    tolerance: float | Sequence[float] = 1.0,
    workers: int = 0,
    quiet: bool = False,
) -> Metrics:
    """Score label maps against references that lie anywhere; see ``evaluate_folder``.

    Args:
        pairs: At least one.
        labels: Class name to label value.
        tolerance: Of the NSD.
        workers: Number of processes; 0 works in this one.
        quiet: No progress bar.

    Raises:
        UserError: As ``evaluate_folder``.
    """
    names = [pair.case for pair in pairs]
    labels = _checked_labels(labels, pairs[0].reference.parent)
    tolerances = _tolerances(tolerance, labels)
    score = functools.partial(_score_pair, labels=labels, tolerances=tolerances)
    scored = list(map_cases(score, pairs, names, workers=workers, title="Evaluating", quiet=quiet))
    _warn_about_misaligned([entry for entry in scored if not entry.aligned])
    unit: Literal["mm", "px"] = "px" if pairs[0].reference.name.lower().endswith(NATURAL_ENDINGS) else "mm"
    return summarise([entry.metrics for entry in scored], labels, tolerances, unit)


def _described_labels(predictions: Path, reference: Path) -> dict[str, int] | None:
    for path in (predictions / "dataset.json", reference.absolute().parent / "dataset.json"):
        if path.is_file():
            log.info("labels as in %s", path)
            description = load_description(path)
            remedy = "Score each value by itself: name the labels in Python, evaluate_folder(..., labels={...})."
            require_plain_labels(description, path, "Evaluation", remedy)
            return description.foreground
    return None


def _foreground_values(pair: Pair) -> frozenset[int]:
    values = {value for path in (pair.prediction, pair.reference) for value in _values(read_label(path).array)}
    return frozenset(values - {0})


def _checked_labels(labels: Mapping[str, int], reference: Path) -> dict[str, int]:
    """The foreground labels in ascending order of their values."""
    foreground = {name: value for name, value in sorted(labels.items(), key=lambda item: item[1]) if value != 0}
    values = list(foreground.values())
    if not values:
        raise UserError(
            "There is no class to evaluate.",
            file=reference,
            found="only background",
            expected="at least one label besides the background",
            remedy="Check that these are the right folders, or name the labels.",
        )
    if values[0] < 0 or values[-1] > _HIGHEST_LABEL or len(set(values)) < len(values):
        raise UserError(
            "The labels are not valid.",
            found=", ".join(f"{name} = {value}" for name, value in foreground.items()),
            expected=f"a different whole number from 1 to {_HIGHEST_LABEL} for each class",
            remedy="Correct the labels.",
        )
    return foreground


def _tolerances(tolerance: float | Sequence[float], labels: Mapping[str, int]) -> dict[str, float]:
    """Class name to tolerance."""
    values = [float(entry) for entry in tolerance] if isinstance(tolerance, Sequence) else [float(tolerance)]
    if len(values) == 1:
        values *= len(labels)
    if len(values) != len(labels) or not all(value >= 0 and math.isfinite(value) for value in values):
        raise UserError(
            "The tolerances of the NSD are not valid.",
            found=", ".join(f"{value:g}" for value in values),
            expected=f"one number, or one for each of {', '.join(labels)}; at least 0",
            remedy="Correct the tolerances.",
        )
    return dict(zip(labels, values, strict=True))


def _score_pair(pair: Pair, labels: Mapping[str, int], tolerances: Mapping[str, float]) -> _ScoredPair:
    prediction, reference = read_label(pair.prediction), read_label(pair.reference)
    _check_grid(prediction, reference, pair)
    for path, label_map in ((pair.prediction, prediction), (pair.reference, reference)):
        _check_values(label_map.array, labels, path)
    spacing = reference.spacing
    scores = score_labels(prediction.array, reference.array, spacing, labels, tolerances)
    z, y, x = reference.array.shape
    return _ScoredPair(
        metrics=summarise_case(pair.case, (z, y, x), spacing, scores),
        aligned=_same_place(prediction.geometry, reference.geometry),
    )


def _check_grid(prediction: LabelMap, reference: LabelMap, pair: Pair) -> None:
    # The slice spacing of a single slice enters no score, and 2-D and 3-D formats state it differently.
    first = 1 if reference.array.shape[0] == 1 else 0
    if prediction.array.shape != reference.array.shape:
        quantity, found, expected = "shape", prediction.array.shape, reference.array.shape
    elif not np.allclose(prediction.spacing[first:], reference.spacing[first:], rtol=SPACING_TOLERANCE, atol=0):
        quantity, found, expected = "spacing", prediction.spacing, reference.spacing
    else:
        return
    raise UserError(
        f"The prediction and the reference of case {pair.case} differ in {quantity}.",
        file=pair.prediction,
        found=f"{quantity} {_numbers(found)} (z, y, x)",
        expected=f"{quantity} {_numbers(expected)}, as in {pair.reference}",
        remedy="Export the prediction on the grid of the reference image.",
    )


def _numbers(values: Iterable[float]) -> str:
    return " x ".join(f"{value:.6g}" for value in values)


def _check_values(array: NDArray[np.integer[Any]], labels: Mapping[str, int], path: Path) -> None:
    unknown = sorted(_values(array) - {0} - set(labels.values()))
    if unknown:
        raise UserError(
            "A label map has values that are no label.",
            file=path,
            found=listed([str(value) for value in unknown]),
            expected="0 (background), " + ", ".join(f"{value} ({name})" for name, value in labels.items()),
            remedy="Correct the label map, or name the labels that it has.",
        )


def _values(array: NDArray[np.integer[Any]]) -> frozenset[int]:
    # Slice by slice: sorting a whole volume would take its memory again.
    return frozenset().union(*(np.unique(plane).tolist() for plane in array))


def _same_place(prediction: Geometry, reference: Geometry) -> bool:
    """Whether two grids of equal shape and spacing also agree in origin and direction."""
    if prediction.dimensions != reference.dimensions:
        return True
    shift = np.subtract(prediction.origin, reference.origin) / np.asarray(reference.spacing)
    turned = np.subtract(prediction.direction, reference.direction)
    return bool(np.abs(shift).max() <= _ORIGIN_TOLERANCE and np.abs(turned).max() <= SPACING_TOLERANCE)


def _warn_about_misaligned(scored: Sequence[_ScoredPair]) -> None:
    if scored:
        log.warning(
            "%d predictions have another origin or direction than their reference; voxels are compared by their "
            "position in the array, which is only right if the header alone is wrong: %s",
            len(scored),
            listed([entry.metrics.case for entry in scored]),
        )
