"""Evaluation of pairs of label maps by a protocol of classes."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Literal

from umseg.common.errors import UserError
from umseg.common.text import few
from umseg.dataset.description import DatasetDescription
from umseg.evaluation.aggregate import summarise, summarise_case
from umseg.evaluation.alignment import LabelPair, Resample, ScoredPair, read_pair, score_pairs
from umseg.evaluation.classes import Classes, make_classes
from umseg.evaluation.found_labels import find_labels
from umseg.evaluation.pairs import Pair
from umseg.evaluation.protocols import abdomen, endoscopy
from umseg.evaluation.protocols.microscopy import evaluate_cells
from umseg.evaluation.protocols.published import CORRECTED, PUBLISHED, over_cases, rounded
from umseg.evaluation.records import CaseMetrics, ClassScores, InstanceMetrics, Metrics, ProtocolScore, ProtocolScores
from umseg.kernels.labels.joint import JointCounts, count_jointly

ClassProtocol = Literal["abdomen", "endoscopy"]
_TITLES = ("DSC", "NSD")


def evaluate_protocol(
    pairs: Sequence[Pair],
    protocol: ClassProtocol | Literal["microscopy"],
    described: DatasetDescription | None = None,
    *,
    threshold: float | None = None,
    numbered: bool = False,
    object_name: str = "cell",
    workers: int = 0,
    quiet: bool = False,
    resample: Resample | None = None,
) -> Metrics | InstanceMetrics:
    """Score label maps by a protocol, as published and corrected.

    Args:
        pairs: At least one.
        protocol: The protocol.
        described: The description of the data set, for the names of its classes.
        threshold: In microscopy: smallest intersection over union of two cells that match; 0.5 by default.
        numbered: Whether predictions number objects.
        object_name: In microscopy: name of the cells in tables.
        workers: Number of processes; 0 works in this one.
        quiet: Whether to show no progress bar.
        resample: As in ``read_pair``.

    Raises:
        UserError: As ``evaluate_folder``; or the label maps are not those of the protocol.
    """
    if protocol == "microscopy":
        return evaluate_cells(
            pairs,
            threshold=threshold,
            numbered=numbered,
            object_name=object_name,
            workers=workers,
            quiet=quiet,
            resample=resample,
        )
    if numbered:
        raise UserError(
            f"The protocol {protocol} does not apply to label maps that number objects.",
            file=pairs[0].reference.parent,
            remedy="Choose the protocol microscopy, or leave out --instances.",
        )
    if protocol == "abdomen":
        classes, tolerances = abdomen.CLASSES, abdomen.TOLERANCES
        if described is not None:
            abdomen.check_names(described.labels, pairs[0].reference.parent)
    else:
        classes = _instruments(pairs, described, workers, quiet)
        tolerances = dict.fromkeys(classes.values, endoscopy.TOLERANCE)
    score = functools.partial(_score_pair, protocol=protocol, classes=classes, resample=resample)
    metrics = summarise(score_pairs(score, pairs, workers, quiet), classes, tolerances, (*CORRECTED, *PUBLISHED))
    published, corrected = (
        _over_cases(metrics, protocol, [metric.key for metric in chosen]) for chosen in (PUBLISHED, CORRECTED)
    )
    scores = ProtocolScores(name=protocol, published=published, corrected=corrected)
    return metrics.model_copy(update={"protocol": scores})


def _instruments(pairs: Sequence[Pair], described: DatasetDescription | None, workers: int, quiet: bool) -> Classes:
    labels = find_labels(pairs, None, workers, quiet) if described is None else described.labels
    if not all(isinstance(value, int) for value in labels.values()):
        raise UserError(
            "The protocol endoscopy scores single values, not regions.",
            file=pairs[0].reference.parent,
            found=few(name for name, value in labels.items() if not isinstance(value, int)),
            remedy="Leave out --protocol.",
        )
    return make_classes(labels, None, pairs[0].reference.parent)


def _over_cases(metrics: Metrics, protocol: ClassProtocol, keys: Sequence[str]) -> dict[str, ProtocolScore]:
    """The scores over all cases, with the mean of the organs' means for the abdomen."""
    scores = over_cases(
        {title: [case.scores[key] for case in metrics.cases] for title, key in zip(_TITLES, keys, strict=True)}
    )
    if protocol == "endoscopy":
        return scores
    means = {title: metrics.foreground_mean.scores[key].mean for title, key in zip(_TITLES, keys, strict=True)}
    return {title: score.model_copy(update={"mean": means[title]}) for title, score in scores.items()}


def _score_pair(
    pair: Pair, protocol: ClassProtocol, classes: Classes, resample: Resample | None
) -> ScoredPair[CaseMetrics]:
    maps = read_pair(pair, resample)
    values = count_jointly(maps.prediction, maps.reference)
    classes.check(values.first.tolist(), pair.prediction, is_reference=False)
    classes.check(values.second.tolist(), pair.reference, is_reference=True)
    if protocol == "abdomen":
        scores = abdomen.score_organs(maps, values)
        case = summarise_case(pair.case, maps.shape, maps.spacing, maps.unit, scores, maps.notes)
    else:
        case = _image(pair, maps, values, classes)
    return ScoredPair.of(case, maps)


def _image(pair: Pair, maps: LabelPair, values: JointCounts, classes: Classes) -> CaseMetrics:
    """An image of the protocol endoscopy; its means over classes are rounded as the script does."""
    if maps.shape[0] > 1:
        raise UserError(
            "The protocol endoscopy scores images of one slice.",
            file=pair.reference,
            found=f"{maps.shape[0]} slices",
            remedy="Leave out --protocol.",
        )
    scores: Mapping[str, ClassScores] = endoscopy.score_instruments(maps, values, classes)
    case = summarise_case(pair.case, maps.shape, endoscopy.PIXEL, "px", scores, maps.notes)
    published = {metric.key: rounded(case.scores[metric.key]) for metric in PUBLISHED}
    return case.model_copy(update={"scores": {**case.scores, **published}})
