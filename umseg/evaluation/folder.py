"""Evaluation of a folder of label maps against a folder of references."""

from __future__ import annotations

import functools
import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from umseg.common.errors import UserError
from umseg.common.processes.parallel import map_cases
from umseg.common.text import few
from umseg.dataset.description import DatasetDescription, load_description
from umseg.dataset.io.images import read_label
from umseg.evaluation.aggregate import summarise, summarise_case
from umseg.evaluation.alignment import ScoredPair, read_pair, score_pairs
from umseg.evaluation.case import score_labels
from umseg.evaluation.classes import (
    MASK_REMEDY,
    TOLERANCE,
    Classes,
    Tolerance,
    class_tolerances,
    make_classes,
    values_of,
)
from umseg.evaluation.instance_pairs import IOU, evaluate_instances
from umseg.evaluation.metrics.metric import Metric
from umseg.evaluation.metrics.registry import DEFAULT_METRICS, choose_metrics
from umseg.evaluation.pairs import Pair, find_pairs
from umseg.evaluation.records import CaseMetrics, InstanceMetrics, Metrics
from umseg.kernels.labels.joint import count_jointly

log = logging.getLogger(__name__)


def evaluate_folder(
    predictions: Path,
    reference: Path,
    *,
    metrics: Sequence[str] | None = None,
    labels: Mapping[str, int | Collection[int]] | None = None,
    ignore_label: int | None = None,
    tolerance: Tolerance | None = None,
    instances: bool = False,
    threshold: float | None = None,
    border: int | None = None,
    file_ending: str | None = None,
    workers: int = 0,
    quiet: bool = False,
    cases: Collection[str] | None = None,
    only_present: bool = False,
) -> Metrics | InstanceMetrics:
    """Score every label map of a folder against the reference of the same file name.

    The meaning of the label maps is taken from the arguments, or else from ``dataset.json`` in the prediction folder,
    or else from ``dataset.json`` beside the reference folder. If there is none, every value that occurs is a class,
    named "1", "2", ...

    Args:
        predictions: Folder of predicted label maps.
        reference: Folder of reference label maps.
        metrics: Names of the metrics, keys of ``umseg.evaluation.metrics.registry.METRICS``. ``dsc`` and ``nsd`` by
            default. They do not apply to an instance task.
        labels: Class name to label value, or to the values of a region (a background of 0 is left out).
        ignore_label: Value of the reference's voxels that nobody annotated; they are left out. By default the ignore
            label of ``dataset.json``, unless ``labels`` are given.
        tolerance: Tolerance of the NSD, in mm, or in pixels where the files do not say how large voxels are: one for
            all classes, or one per class in ascending order of the label values, with regions in the order of the
            labels, or by class name (1 for the others). 1 by default.
        instances: Whether label maps number objects, whatever ``dataset.json`` says: F1 instead of scores per class.
        threshold: In an instance task: smallest intersection over union of two objects that match. 0.5 by default.
        border: In an instance task: width in voxels of the frame along the edges of the image; objects that reach into
            it are left out. 0 by default.
        file_ending: Ending of the label maps, with the dot. By default the one ending found in the reference folder;
            predictions may have another one.
        workers: Number of processes; 0 works in this one.
        quiet: Whether to show no progress bar.
        cases: Names of the cases to score (file names without ending); other files in either folder are left out. By
            default every file of the two folders must have its counterpart in the other.
        only_present: Whether cases that are in one folder alone are left out; references without a prediction are named
            in the result.

    Returns:
        Scores per case and class, or per case and its objects, and their summary.

    Raises:
        UserError: A file is missing in one of the folders or unreadable; two files differ in shape or spacing; a
            label map has a value that is not in ``labels``; the metrics, labels or tolerances are not valid; an
            argument does not apply to this kind of label maps.
    """
    pairs, missing = find_pairs(Path(predictions), Path(reference), file_ending, cases, only_present)
    described = None if labels is not None else _description(Path(predictions), Path(reference))
    if instances or (described is not None and described.task == "instance"):
        options = {
            "metrics": metrics,
            "labels": labels,
            "ignore label": ignore_label,
            "tolerance of the NSD": tolerance,
        }
        _refuse_options(options, "label maps that number objects", reference)
        objects = evaluate_instances(
            pairs,
            object_name=_object_name(described),
            threshold=IOU if threshold is None else threshold,
            border=border or 0,
            workers=workers,
            quiet=quiet,
        )
        return objects.model_copy(update={"missing": missing})
    _refuse_options({"IoU threshold": threshold, "border": border}, "label maps of classes", reference)
    metrics = DEFAULT_METRICS if metrics is None else tuple(metrics)
    # Chosen before the label maps are read, so that a misspelt name is reported at once.
    if not any(metric.uses_tolerance for metric in choose_metrics(metrics)):
        _refuse_options({"tolerance of the NSD": tolerance}, f"the metrics {', '.join(metrics)}", reference)
    if described is not None:
        labels = described.regions
        ignore_label = described.ignore_label if ignore_label is None else ignore_label
    if labels is None:
        names = [pair.case for pair in pairs]
        found = list(map_cases(_foreground_values, pairs, names, workers=workers, title="Finding labels", quiet=quiet))
        predicted, expected = (frozenset[int]().union(*sides) for sides in zip(*found, strict=True))
        _warn_of_other_values(predicted, expected)
        labels = {str(value): value for value in sorted(predicted | expected) if value != ignore_label}
    scores = evaluate_pairs(
        pairs,
        labels,
        metrics=metrics,
        ignore_label=ignore_label,
        tolerance=TOLERANCE if tolerance is None else tolerance,
        workers=workers,
        quiet=quiet,
    )
    return scores.model_copy(update={"missing": missing})


def evaluate_pairs(
    pairs: Sequence[Pair],
    labels: Mapping[str, int | Collection[int]],
    *,
    metrics: Sequence[str] = DEFAULT_METRICS,
    ignore_label: int | None = None,
    tolerance: Tolerance = TOLERANCE,
    workers: int = 0,
    quiet: bool = False,
) -> Metrics:
    """Score label maps against references that lie anywhere; see ``evaluate_folder``.

    Args:
        pairs: At least one.
        labels: Class name to label value, or to the values of a region.
        metrics: Names of the metrics.
        ignore_label: Value of the reference's voxels that nobody annotated.
        tolerance: Tolerance of the NSD.
        workers: Number of processes; 0 works in this one.
        quiet: Whether to show no progress bar.

    Raises:
        UserError: As ``evaluate_folder``.
    """
    classes = make_classes(labels, ignore_label, pairs[0].reference.parent)
    tolerances = class_tolerances(tolerance, classes)
    chosen = choose_metrics(metrics)
    score = functools.partial(_score_pair, classes=classes, tolerances=tolerances, metrics=chosen)
    result = summarise(score_pairs(score, pairs, workers, quiet), classes, tolerances, chosen)
    if result.unit == "mixed":
        log.warning(
            "Some label maps do not say how large their voxels are; lengths, the tolerance of the NSD included, are in "
            "pixels in these cases and in mm in the others: %s",
            few([case.case for case in result.cases if case.unit == "px"]),
        )
    return result


def evaluate_described(
    pairs: Sequence[Pair],
    description: DatasetDescription,
    *,
    tolerance: Tolerance = TOLERANCE,
    workers: int = 0,
    quiet: bool = False,
) -> Metrics | InstanceMetrics:
    """Score label maps by the classes or regions of their data set's description, or by its objects.

    Args:
        pairs: At least one.
        description: The data set's description.
        tolerance: Tolerance of the NSD; ignored in an instance task.
        workers: Number of processes; 0 works in this one.
        quiet: Whether to show no progress bar.

    Raises:
        UserError: As ``evaluate_folder``.
    """
    if description.task == "instance":
        return evaluate_instances(pairs, object_name=_object_name(description), workers=workers, quiet=quiet)
    ignore = description.ignore_label
    return evaluate_pairs(
        pairs, description.regions, ignore_label=ignore, tolerance=tolerance, workers=workers, quiet=quiet
    )


def _description(predictions: Path, reference: Path) -> DatasetDescription | None:
    for path in (predictions / "dataset.json", reference.absolute().parent / "dataset.json"):
        if path.is_file():
            log.info("The labels are those of %s.", path)
            return load_description(path)
    return None


def _object_name(description: DatasetDescription | None) -> str:
    if description is None or description.task != "instance":
        return "object"
    (name,) = (name for name, value in description.labels.items() if value != 0)
    return name


def _refuse_options(options: Mapping[str, object], kind: str, reference: Path) -> None:
    """Raise a UserError if one of the options is given, as none of them applies."""
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise UserError(
            f"This option does not apply to {kind}." if len(given) == 1 else f"These options do not apply to {kind}.",
            file=reference,
            found=", ".join(given),
            remedy="Leave it out. If the label maps number objects, use --instances or a dataset.json that says so; "
            "metrics are chosen with --metrics.",
        )


def _foreground_values(pair: Pair) -> tuple[frozenset[int], frozenset[int]]:
    """The values of the prediction and those of the reference."""
    return values_of(read_label(pair.prediction).array) - {0}, values_of(read_label(pair.reference).array) - {0}


def _warn_of_other_values(predicted: frozenset[int], reference: frozenset[int]) -> None:
    """Say that all scores will be 0 because the two folders name their classes by different values."""
    if predicted and reference and not predicted & reference:
        log.warning(
            "Predictions and references have no value in common: %s and %s, so that every score is 0. %s",
            few(map(str, sorted(predicted))),
            few(map(str, sorted(reference))),
            MASK_REMEDY if 255 in predicted | reference else "Give both the same values.",
        )


def _score_pair(
    pair: Pair, classes: Classes, tolerances: Mapping[str, float], metrics: Sequence[Metric]
) -> ScoredPair[CaseMetrics]:
    maps = read_pair(pair)
    values = count_jointly(maps.prediction, maps.reference)
    classes.check(values.first.tolist(), pair.prediction, is_reference=False)
    classes.check(values.second.tolist(), pair.reference, is_reference=True)
    scores = score_labels(
        maps.prediction, maps.reference, maps.spacing, classes, tolerances, maps.unit, metrics, values
    )
    case = summarise_case(pair.case, maps.shape, maps.spacing, maps.unit, scores, maps.notes)
    return ScoredPair(case, maps.aligned, maps.turned, maps.notices)
