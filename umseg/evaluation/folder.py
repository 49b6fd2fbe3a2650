"""Evaluation of a folder of label maps against a folder of references."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

from umseg.common.errors import UserError
from umseg.common.registry import unknown_name
from umseg.common.text import few
from umseg.dataset.description import DatasetDescription, load_description
from umseg.evaluation.aggregate import summarise, summarise_case
from umseg.evaluation.alignment import Resample, ScoredPair, check_resampling, read_pair, score_pairs
from umseg.evaluation.case import score_labels
from umseg.evaluation.classes import TOLERANCE, Classes, Tolerance, class_tolerances, make_classes
from umseg.evaluation.found_labels import find_labels
from umseg.evaluation.instance_pairs import IOU, evaluate_instances
from umseg.evaluation.metrics.metric import Metric
from umseg.evaluation.metrics.registry import DEFAULT_METRICS, choose_metrics
from umseg.evaluation.pairs import Missing, Pair, find_pairs
from umseg.evaluation.protocols.evaluate import evaluate_protocol
from umseg.evaluation.records import CaseMetrics, InstanceMetrics, Metrics, ProtocolName, ProtocolScores
from umseg.evaluation.undescribed import score_undescribed
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
    threshold: float | Sequence[float] | None = None,
    border: int | None = None,
    file_ending: str | None = None,
    workers: int = 0,
    quiet: bool = False,
    cases: Collection[str] | None = None,
    missing: Missing = "error",
    resample: Resample | None = None,
    protocol: ProtocolName | None = None,
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
        threshold: In an instance task: smallest intersection over union of two objects that match, or several, the
            first of which is that of F1. 0.5 by default.
        border: In an instance task: width in voxels of the frame along the edges of the image; objects that reach into
            it are left out. 0 by default.
        file_ending: Ending of the label maps, with the dot. By default the one ending found in the reference folder;
            predictions may have another one.
        workers: Number of processes; 0 works in this one.
        quiet: Whether to show no progress bar.
        cases: Names of the cases to score (file names without ending); other files in either folder are left out. By
            default every file of the two folders must have its counterpart in the other.
        missing: What becomes of references without a prediction: ``error``, ``skip`` leaves them out, and ``zero``
            scores them as if nothing had been predicted. With ``skip`` and ``zero``, predictions without a reference
            are left out. The result names all of them.
        resample: ``nearest`` brings predictions on another grid in space onto that of their reference; None: they are
            refused.
        protocol: Score as the paper's tables do (docs/metrics.md): ``abdomen``, ``endoscopy`` and ``microscopy`` say
            everything themselves, as published and corrected; with ``paper`` a class that neither label map has scores
            1 by the metrics of which 1 is perfect.

    Returns:
        Scores per case and class, or per case and its objects, and their summary.

    Raises:
        UserError: A file is missing in one of the folders or unreadable; two files differ in shape or spacing; a
            label map has a value that is not in ``labels``; the metrics, labels or tolerances are not valid; an
            argument does not apply to this kind of label maps.
    """
    check_resampling(resample)
    if protocol is not None and protocol not in get_args(ProtocolName):
        raise unknown_name("protocol", protocol, get_args(ProtocolName), "--protocol")
    found = find_pairs(Path(predictions), Path(reference), file_ending, cases, missing)
    described = None if labels is not None else _description(Path(predictions), Path(reference))
    is_instance = instances or (described is not None and described.task == "instance")
    of_classes = {
        "metrics": metrics,
        "labels": labels,
        "ignore label": ignore_label,
        "tolerance of the NSD": tolerance,
    }
    of_objects = {"IoU threshold": threshold, "border": border}
    scores: Metrics | InstanceMetrics
    if protocol is not None and protocol != "paper":
        others = {"border": border} if protocol == "microscopy" else of_objects
        _refuse_options({**of_classes, **others}, f"the protocol {protocol}, which settles it", reference)
        scores = evaluate_protocol(
            found.scored,
            protocol,
            described,
            threshold=_only_threshold(threshold),
            numbered=is_instance,
            object_name=_object_name(described) if is_instance else "cell",
            workers=workers,
            quiet=quiet,
            resample=resample,
        )
    elif is_instance:
        _refuse_options({**of_classes, "protocol": protocol}, "label maps that number objects", reference)
        scores = evaluate_instances(
            found.scored,
            object_name=_object_name(described),
            threshold=IOU if threshold is None else threshold,
            border=border or 0,
            workers=workers,
            quiet=quiet,
            resample=resample,
        )
    else:
        _refuse_options(of_objects, "label maps of classes", reference)
        metrics = DEFAULT_METRICS if metrics is None else tuple(metrics)
        # Chosen before the label maps are read, so that a misspelt name is reported at once.
        if not any(metric.uses_tolerance for metric in choose_metrics(metrics)):
            _refuse_options({"tolerance of the NSD": tolerance}, f"the metrics {', '.join(metrics)}", reference)
        if described is not None:
            labels = described.regions
            ignore_label = described.ignore_label if ignore_label is None else ignore_label
        scores = evaluate_pairs(
            found.scored,
            labels,
            metrics=metrics,
            ignore_label=ignore_label,
            tolerance=TOLERANCE if tolerance is None else tolerance,
            workers=workers,
            quiet=quiet,
            resample=resample,
            protocol=protocol,
        )
    return scores.model_copy(
        update={
            "missing": found.missing,
            "missing_rule": "zero" if missing == "zero" else "skip",
            "surplus": found.surplus,
        }
    )


def evaluate_pairs(
    pairs: Sequence[Pair],
    labels: Mapping[str, int | Collection[int]] | None,
    *,
    metrics: Sequence[str] = DEFAULT_METRICS,
    ignore_label: int | None = None,
    tolerance: Tolerance = TOLERANCE,
    workers: int = 0,
    quiet: bool = False,
    resample: Resample | None = None,
    protocol: Literal["paper"] | None = None,
) -> Metrics:
    """Score label maps against references that lie anywhere; see ``evaluate_folder``.

    Args:
        pairs: At least one.
        labels: Class name to label value, or to the values of a region. None: every value that occurs is a class.
        metrics: Names of the metrics.
        ignore_label: Value of the reference's voxels that nobody annotated.
        tolerance: Tolerance of the NSD.
        workers: Number of processes; 0 works in this one.
        quiet: Whether to show no progress bar.
        resample: As in ``evaluate_folder``.
        protocol: ``paper``: a class that neither label map has scores 1.

    Raises:
        UserError: As ``evaluate_folder``.
    """
    chosen = choose_metrics(metrics)
    both_empty = 1.0 if protocol == "paper" else math.nan
    if labels is None and isinstance(tolerance, int | float):
        cases, classes = score_undescribed(
            pairs,
            metrics=chosen,
            ignore_label=ignore_label,
            tolerance=tolerance,
            workers=workers,
            quiet=quiet,
            resample=resample,
            both_empty=both_empty,
        )
        tolerances = class_tolerances(tolerance, classes)
    else:
        # Tolerances that differ between classes have to wait until all classes are known.
        labels = find_labels(pairs, ignore_label, workers, quiet) if labels is None else labels
        classes = make_classes(labels, ignore_label, pairs[0].reference.parent)
        tolerances = class_tolerances(tolerance, classes)
        score = functools.partial(
            _score_pair,
            classes=classes,
            tolerances=tolerances,
            metrics=chosen,
            resample=resample,
            both_empty=both_empty,
        )
        cases = score_pairs(score, pairs, workers, quiet)
    result = summarise(cases, classes, tolerances, chosen)
    if protocol is not None:
        result = result.model_copy(update={"protocol": ProtocolScores(name=protocol, published={}, corrected={})})
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


def _only_threshold(threshold: float | Sequence[float] | None) -> float | None:
    """The threshold of a protocol, which takes one."""
    if not isinstance(threshold, Sequence):
        return threshold
    if len(threshold) != 1:
        raise UserError(
            "The protocol takes one IoU.",
            found=", ".join(f"{value:g}" for value in threshold),
            remedy="Give --iou one number, or leave out --protocol.",
        )
    return threshold[0]


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


def _score_pair(
    pair: Pair,
    classes: Classes,
    tolerances: Mapping[str, float],
    metrics: Sequence[Metric],
    resample: Resample | None,
    both_empty: float,
) -> ScoredPair[CaseMetrics]:
    maps = read_pair(pair, resample)
    values = count_jointly(maps.prediction, maps.reference)
    classes.check(values.first.tolist(), pair.prediction, is_reference=False)
    classes.check(values.second.tolist(), pair.reference, is_reference=True)
    scores = score_labels(
        maps.prediction, maps.reference, maps.spacing, classes, tolerances, maps.unit, metrics, values, both_empty
    )
    return ScoredPair.of(summarise_case(pair.case, maps.shape, maps.spacing, maps.unit, scores, maps.notes), maps)
