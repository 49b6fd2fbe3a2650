"""The scores of two models together, in cross-validation."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from umseg.dataset.dataset import Case, Dataset
from umseg.evaluation import InstanceMetrics, Metrics, Pair, evaluate_described, load_metrics, write_metrics
from umseg.inference import Predictor
from umseg.training.saved.tensor_file import weights_hash
from umseg.workflows.best.candidates import Validated, scores_of
from umseg.workflows.choose_postprocessing import choose_postprocessing, clean_files
from umseg.workflows.validate import validation_cases
from umseg.workspace import FoldFolder, Workspace

_REMEDY = "Remove the file; `umseg best` then scores these models again."
_WEIGHTS_REMEDY = "Train this fold from the beginning with --restart."


@dataclass(frozen=True)
class Resources:
    """What the work may use.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
        workers: Number of processes that compute scores; 0 works in this one.
        quiet: Whether to show no progress bars.
    """

    device: str = "auto"
    precision: str = "auto"
    workers: int = 0
    quiet: bool = False


def validate_pair(
    workspace: Workspace, dataset: Dataset, first: Validated, second: Validated, resources: Resources
) -> Validated:
    """The scores of two models together, fold by fold.

    Each validation case is segmented by the two models that were not trained with it. In an instance task the
    post-processing of each fold is chosen as for a single model. What is written to ``ensembles`` is used again as long
    as the weights are the same.

    Raises:
        UserError: The images have moved since planning or are no longer readable, or a file is damaged.
    """
    (one,), (other,) = first.models, second.models
    scores: dict[str, Mapping[str, float]] = {}
    for name in first.validated:
        metrics = _validate_fold(workspace, dataset, (one.fold(name), other.fold(name)), resources)
        scores.update(scores_of(metrics))
    return Validated(
        models=(one, other),
        folds=tuple(fold for fold in first.folds if fold in second.folds),
        validated=first.validated,
        scores=scores,
        note="; ".join(dict.fromkeys(filter(None, (first.note, second.note)))),
    )


def validation_pairs(workspace: Workspace, dataset: Dataset, model: Validated) -> list[Pair]:
    """The label maps of all validation cases of a model, or of several together, and their references."""
    together = model.models[0] if len(model.models) == 1 else workspace.ensemble(model.models)
    return [
        pair
        for name in model.validated
        for pair in _pairs(
            validation_cases(workspace, dataset, model.models[0].fold(name)),
            dataset,
            together.fold(name).validation,
        )
    ]


def _validate_fold(
    workspace: Workspace, dataset: Dataset, folds: Sequence[FoldFolder], resources: Resources
) -> Metrics | InstanceMetrics:
    output = workspace.ensemble([fold.models for fold in folds]).fold(folds[0].name)
    weights, cases = (
        joint_hash([fold.weights("final") for fold in folds]),
        validation_cases(workspace, dataset, folds[0]),
    )
    if output.metrics_file.exists():
        earlier = load_metrics(output.metrics_file, _REMEDY)
        if earlier.weights == weights and {case.case for case in earlier.cases} == {case.id for case in cases}:
            return earlier
    with _only_warnings():
        predictor = Predictor(
            [fold.models.path for fold in folds],
            resources.device,
            folds=[folds[0].name],
            precision=resources.precision,
            postprocessing=False,
        )
        predictor.predict_cases(cases, output.validation, quiet=resources.quiet)
    pairs = _pairs(cases, dataset, output.validation)
    if dataset.description.task == "instance":
        chosen = choose_postprocessing(pairs, workers=resources.workers, quiet=resources.quiet)
        chosen.save(output.postprocessing_file)
        clean_files([pair.prediction for pair in pairs], chosen)
    metrics = evaluate_described(pairs, dataset.description, workers=resources.workers, quiet=resources.quiet)
    metrics = metrics.model_copy(update={"weights": weights})
    write_metrics(metrics, output.validation)
    return metrics


@contextlib.contextmanager
def _only_warnings() -> Iterator[None]:
    """Leave out what prediction says of each fold of each pair, but for warnings."""
    logger = logging.getLogger("umseg.inference")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _pairs(cases: Sequence[Case], dataset: Dataset, folder: Path) -> list[Pair]:
    ending = dataset.description.file_ending
    return [
        Pair(case.id, folder / f"{case.id}{case.label_ending(ending)}", case.label)
        for case in cases
        if case.label is not None
    ]


def joint_hash(files: Sequence[Path]) -> str:
    """One hash for the weights of several models.

    Args:
        files: A file of weights of each model, in the order of the models.

    Raises:
        UserError: A file is damaged.
    """
    hashes = [weights_hash(file, _WEIGHTS_REMEDY) for file in files]
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()
