"""What goes into a bundle: the files of a model folder that prediction and its readers need, and nothing else."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from umseg.common.errors import UserError
from umseg.evaluation import InstanceMetrics, Metrics, load_metrics
from umseg.inference.bundle.manifest import (
    FIRST_STAGE,
    MANIFEST,
    BundledMember,
    FoldCases,
    Manifest,
    TrainingData,
)
from umseg.inference.bundle.usable import check_weights_of
from umseg.inference.weights import find_weights
from umseg.models.card import ModelCard, first_stage_folder, load_card
from umseg.training.config.training_config import TrainingConfig
from umseg.training.saved.tensor_file import weights_hash
from umseg.training.saved.trained import recorded_split
from umseg.workspace import CARD, FINAL, METRICS, POSTPROCESSING, FoldFolder, WeightsName

log = logging.getLogger(__name__)

_REMEDY = "Remove the file to export the model without it."


@dataclass(frozen=True)
class Contents:
    """Everything that a bundle holds, but its manifest.

    Attributes:
        card: The card of the model, or of the first of several; it names the first stage of a cascade by its place in
            the bundle.
        texts: The text of each file of JSON.
        weights: The file of each file of weights.
        metrics: The scores of the model's folds, as far as they belong to the weights; those of several models
            together, not of each.
        training: What the model, or the first of several, was trained on.
        earlier: The manifest of the bundle that the model folder came from.
        which: Which weights of the training these are.
        members: What ``best.json`` names; None for one model without it.
    """

    card: ModelCard
    texts: dict[str, str]
    weights: dict[str, Path]
    metrics: tuple[Metrics | InstanceMetrics, ...]
    training: TrainingData
    earlier: Manifest | None
    which: WeightsName
    members: tuple[BundledMember, ...] | None = None


def collect(
    models: Path,
    folds: Sequence[str] | None,
    which: WeightsName,
    *,
    hide_cases: bool = False,
    records: Sequence[FoldCases] = (),
) -> Contents:
    """Read a model folder, check that its model can predict, and choose what goes into a bundle.

    Args:
        models: The model folder.
        folds: The folds; None: every trained one.
        which: The weights.
        hide_cases: Whether validation cases are numbered rather than named in the scores.
        records: How folds were trained, where that is known from an earlier bundle.

    Raises:
        UserError: A file is missing or damaged, or weights do not belong to the network.
    """
    card = load_card(models)
    files = find_weights(models, folds, which)
    check_weights_of(models, card, files)
    earlier = earlier_manifest(models)
    records = records if earlier is None else earlier.training.folds
    texts, weights, metrics = _stage(files, which, hide_cases)
    first = first_stage_folder(models, card)
    if first is not None:
        names = [FoldFolder(file.parent).name for file in files]
        firsts = find_weights(first, None if names == ["all"] else names, which)
        first_card = load_card(first)
        check_weights_of(first, first_card, firsts)
        more, more_weights, _ = _stage(firsts, which, hide_cases)
        texts |= {f"{FIRST_STAGE}/{path}": text for path, text in more.items()}
        texts[f"{FIRST_STAGE}/{CARD}"] = first_card.to_json()
        weights |= {f"{FIRST_STAGE}/{path}": file for path, file in more_weights.items()}
        card = card.model_copy(update={"first_stage": FIRST_STAGE})
    # The weights of an imported bundle are called final, whatever they are.
    which = which if earlier is None else earlier.weights
    training = _training(card, [FoldFolder(file.parent) for file in files], records)
    return Contents(card, {CARD: card.to_json(), **texts}, weights, metrics, training, earlier, which)


def _stage(
    files: Sequence[Path], which: WeightsName, hide_cases: bool
) -> tuple[dict[str, str], dict[str, Path], tuple[Metrics | InstanceMetrics, ...]]:
    """The files of JSON of some folds, their weights, and their scores."""
    texts, weights, scores = {}, {}, []
    for file in files:
        fold = FoldFolder(file.parent)
        weights[f"{fold.path.name}/{FINAL}"] = file
        if fold.postprocessing_file.exists():
            # It was read with the weights, and is copied as it is.
            texts[f"{fold.path.name}/{POSTPROCESSING}"] = fold.postprocessing_file.read_text(encoding="utf-8")
        found = recorded_scores(fold, file.name, partial(weights_hash, file, _REMEDY), which, hide_cases)
        if found is not None:
            texts[f"{fold.path.name}/validation/{METRICS}"] = found.to_json()
            scores.append(found)
    return texts, weights, tuple(scores)


def recorded_scores(
    fold: FoldFolder, name: str, expected: Callable[[], str], which: WeightsName, hide_cases: bool
) -> Metrics | InstanceMetrics | None:
    """The scores of a fold, if they are those of the weights.

    Args:
        fold: The fold.
        name: Name of the weights, for a warning.
        expected: The hash of the weights.
        which: Which weights they are.
        hide_cases: Whether validation cases are numbered rather than named.
    """
    if not fold.metrics_file.exists():
        return None
    metrics = load_metrics(fold.metrics_file, _REMEDY)
    # Earlier versions recorded no hash; they validated the final weights, as all do.
    same = which == "final" if metrics.weights is None else metrics.weights == expected()
    if not same:
        log.warning(
            "The scores of fold %s are left out: they were measured with other weights than %s.",
            fold.name,
            name,
        )
        return None
    return _numbered(metrics) if hide_cases else metrics


def _numbered(metrics: Metrics | InstanceMetrics) -> Metrics | InstanceMetrics:
    """Scores whose cases have numbers in place of names."""
    cases = [case.model_copy(update={"case": f"case_{n:04d}"}) for n, case in enumerate(metrics.cases, start=1)]
    missing = [f"missing_{n:04d}" for n, _ in enumerate(metrics.missing, start=1)]
    surplus = [f"surplus_{n:04d}" for n, _ in enumerate(metrics.surplus, start=1)]
    return metrics.model_copy(update={"cases": tuple(cases), "missing": tuple(missing), "surplus": tuple(surplus)})


def earlier_manifest(folder: Path) -> Manifest | None:
    """The manifest of the bundle that a folder was unpacked from; None if it was not."""
    file = folder / MANIFEST
    return Manifest.load(file, _REMEDY) if file.exists() else None


def _training(card: ModelCard, folds: Sequence[FoldFolder], records: Sequence[FoldCases]) -> TrainingData:
    """What the card and the records of the folds say about the training."""
    known = {fold.fold: fold for fold in records}
    return TrainingData(
        dataset=card.plan.dataset_name,
        cases=card.dataset.numTraining,
        channels=tuple(card.dataset.channel_names.values()),
        median_spacing=card.plan.original_median_spacing_after_transp,
        median_shape=card.plan.original_median_shape_after_transp,
        folds=tuple(known.get(fold.name) or _fold(fold) for fold in folds),
    )


def _fold(fold: FoldFolder) -> FoldCases:
    split, config = recorded_split(fold), None
    with contextlib.suppress(UserError):  # a model of another system has none
        config = TrainingConfig.load(fold.config_file, _REMEDY)
    return FoldCases(
        fold=fold.name,
        training_cases=None if split is None else len(split.train),
        validation_cases=None if split is None else len(split.validation),
        epochs=None if config is None else config.epochs,
        iterations=None if config is None else config.iterations,
    )
