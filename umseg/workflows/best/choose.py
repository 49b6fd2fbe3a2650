"""``umseg best``: the model, or the pair of models, with the highest score in cross-validation."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Callable

import numpy as np

from umseg.common.errors import UserError
from umseg.dataset.dataset import Dataset
from umseg.inference.best import Best, Candidate, Member
from umseg.inference.postprocessing.classes import ClassCleaning
from umseg.inference.postprocessing.instances import find_cleaning
from umseg.preprocess.instance_cleaning import Cleaning
from umseg.workflows.best.candidates import Validated, comparable, find_validated
from umseg.workflows.best.class_cleaning import choose_class_cleaning
from umseg.workflows.best.pairs import Resources, validate_pair, validation_pairs
from umseg.workspace import Workspace

log = logging.getLogger(__name__)


def choose_best(
    workspace: Workspace,
    *,
    pairs: bool = True,
    resources: Resources | None = None,
    say: Callable[[str], None] = log.info,
) -> Best:
    """Choose the best model, or pair of models, and its post-processing; ``best.json`` in the workspace is written.

    Every validation case is segmented by models that were not trained with it. Of equal scores, a single model is
    chosen before a pair. What pairs predict is kept in ``ensembles`` and used again by the next call.

    Args:
        workspace: Workspace of the data set.
        pairs: Whether pairs of models are tried, for which their validation cases are segmented again.
        resources: What the work may use.
        say: Function that is told what is done.

    Raises:
        UserError: No model has been validated, a file is damaged, or the images have moved since planning.
    """
    resources = resources or Resources()
    dataset = workspace.load(Dataset)
    singles, others = comparable(find_validated(workspace))
    tried = list(singles)
    if pairs:
        every = list(itertools.combinations(singles, 2))
        for number, (first, second) in enumerate(every, start=1):
            say(f"Validating pair {number} of {len(every)}: {first.names[0]} and {second.names[0]}.")
            tried.append(validate_pair(workspace, dataset, first, second, resources))
    ranked = sorted(tried, key=_rank)
    winner = next((candidate for candidate in ranked if candidate.folds), ranked[0])
    if math.isnan(winner.score):
        raise UserError(
            "No model has a score, because no validation case has anything labelled.",
            file=workspace.folder,
            remedy="Check the labels of the data set.",
        )
    cleaning, instance_cleaning, after = _postprocessing(workspace, dataset, winner, resources)
    best = Best(
        dataset_name=dataset.name,
        metric="F1" if dataset.description.task == "instance" else "DSC",
        cases=len(winner.scores),
        candidates=(
            *(_candidate(candidate) for candidate in ranked),
            *(Candidate(models=(name,), score=None, note=note) for name, note in others.items()),
        ),
        members=tuple(Member(model=name, folds=winner.folds) for name in winner.names),
        score=winner.score,
        score_after=after,
        cleaning=cleaning,
        instance_cleaning=instance_cleaning,
    )
    best.save(workspace.best_file)
    return best


def _rank(candidate: Validated) -> tuple[float, int]:
    """The place of a candidate: a high score first, rounding apart, and a single model before a pair."""
    score = candidate.score
    return (math.inf if math.isnan(score) else -round(score, 9)), len(candidate.models)


def _candidate(found: Validated) -> Candidate:
    return Candidate(models=found.names, score=None if math.isnan(found.score) else found.score, note=found.note)


def _postprocessing(
    workspace: Workspace, dataset: Dataset, winner: Validated, resources: Resources
) -> tuple[ClassCleaning | None, Cleaning | None, float]:
    """The post-processing of classes, that of objects, and the mean score after it."""
    if dataset.description.task == "instance":
        # Each fold's was chosen by its validation, and the scores are those after it. The log says what it is.
        single = len(winner.models) == 1
        together = winner.models[0] if single else workspace.ensemble(winner.models)
        cleaning = find_cleaning([together.fold(name) for name in winner.folds])
        # That of a single model is found beside its weights.
        return None, None if single else cleaning, winner.score
    pairs = validation_pairs(workspace, dataset, winner)
    choice = choose_class_cleaning(pairs, dataset.description, workers=resources.workers, quiet=resources.quiet)
    if choice.cleaning.changes_nothing:
        return None, None, winner.score
    return choice.cleaning, None, float(np.nanmean(list(choice.after.values())))
