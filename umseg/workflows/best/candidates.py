"""Candidates for the best model: what cross-validation says about each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from umseg.common.errors import UserError
from umseg.common.text import counted, few
from umseg.evaluation import InstanceMetrics, Metrics
from umseg.workflows.validate import earlier_validation
from umseg.workspace import ModelFolder, Workspace

FAILED = 0.5
"""A fold with less than this fraction of the median score of its model's folds has failed to train."""

OBJECTS = "objects"

Scores = Mapping[str, Mapping[str, float]]
"""Case to class to score; NaN where the case says nothing about the class."""


@dataclass(frozen=True)
class Validated:
    """A model, or several together, with the scores of their validation cases.

    Attributes:
        models: The model folders.
        folds: The folds that are averaged.
        validated: The folds whose validation cases were scored: those that failed to train are among them.
        scores: The scores of all their validation cases.
        note: Which folds were left out, and why.
    """

    models: tuple[ModelFolder, ...]
    folds: tuple[str, ...]
    validated: tuple[str, ...]
    scores: Scores = field(repr=False)
    note: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the model folders."""
        return tuple(models.path.name for models in self.models)

    @property
    def score(self) -> float:
        """Mean over classes of their means over cases."""
        return mean_score(self.scores)


def mean_score(scores: Scores) -> float:
    """The mean over classes of their means over the cases that have the class; NaN if there is none."""
    classes = dict.fromkeys(name for case in scores.values() for name in case)
    means = [_mean(case[name] for case in scores.values() if name in case) for name in classes]
    return _mean(means)


def scores_of(metrics: Metrics | InstanceMetrics) -> Scores:
    """The scores of a fold's cases: the DSC of each class, or the F1 of the objects."""
    if isinstance(metrics, InstanceMetrics):
        return {case.case: {OBJECTS: case.objects.F1} for case in metrics.cases}
    return {case.case: {name: scores.scores["dsc"] for name, scores in case.classes.items()} for case in metrics.cases}


def find_validated(workspace: Workspace) -> list[Validated]:
    """Every model of a workspace that has validated folds, by name.

    Raises:
        UserError: A file of the workspace is damaged, or no model has a validated fold.
    """
    found = [validated for models in workspace.models() if (validated := _validated(workspace, models)) is not None]
    if not found:
        raise UserError(
            "No model of this workspace has been validated.",
            file=workspace.folder,
            found=f"models: {few(models.path.name for models in workspace.models())}" if workspace.models() else None,
            expected="at least one model whose folds are trained and validated",
            remedy="Train folds with `umseg train`, which validates them at its end.",
        )
    return found


def comparable(found: Sequence[Validated]) -> tuple[list[Validated], dict[str, str]]:
    """The models that were validated on the same cases, as many cases as possible.

    Args:
        found: At least one.

    Returns:
        These models, and a sentence about every other one, by the name of its folder.
    """
    most = max((frozenset(model.scores) for model in found), key=lambda cases: (len(cases), sorted(cases)))
    same = [model for model in found if frozenset(model.scores) == most]
    others = {
        model.names[0]: f"validated on {counted(len(model.scores), 'case')} (folds {', '.join(model.folds)}), not on "
        f"the {len(most)} of the others"
        for model in found
        if frozenset(model.scores) != most
    }
    return same, others


def _validated(workspace: Workspace, models: ModelFolder) -> Validated | None:
    """What validation says about a model; None if it has no validated fold."""
    scores: dict[str, Scores] = {}
    for fold in models.folds():
        if fold.name == "all" or not fold.weights("final").exists():
            continue
        metrics = earlier_validation(workspace, fold.path)
        if metrics is not None and (isinstance(metrics, InstanceMetrics) or "dsc" in metrics.metrics):
            scores[fold.name] = scores_of(metrics)
    failed = failed_folds({fold: mean_score(found) for fold, found in scores.items()})
    folds = tuple(fold for fold in scores if fold not in failed)
    if not scores:
        return None
    # Their scores count all the same: each case was segmented once, by the model that had not seen it.
    cases = {case: classes for found in scores.values() for case, classes in found.items()}
    note = f"left out {counted(len(failed), 'fold')} that failed to train: {', '.join(failed)}" if failed else ""
    return Validated((models,), folds, tuple(scores), cases, note)


def failed_folds(means: Mapping[str, float]) -> list[str]:
    """The folds whose mean is below ``FAILED`` times the median of all; NaN counts as 0.

    Args:
        means: Fold to its mean score.
    """
    values = {fold: 0.0 if math.isnan(mean) else mean for fold, mean in means.items()}
    limit = FAILED * float(np.median(list(values.values()))) if values else 0.0
    return [fold for fold, mean in values.items() if mean < limit]


def _mean(values: Iterable[float]) -> float:
    finite = [value for value in values if not math.isnan(value)]
    return float(np.mean(finite)) if finite else math.nan
