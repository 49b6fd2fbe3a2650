"""The runs of a workspace beside its present folds and plan: what was trained otherwise, and what is being trained."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator

from umseg.common.claims import Holder, holder
from umseg.common.errors import UserError
from umseg.dataset.description import DatasetDescription
from umseg.models.card import ModelCard
from umseg.planning.plan import Plan
from umseg.training.config.training_config import TrainingConfig
from umseg.training.data.splits import Split, Splits, other_cases, split_of
from umseg.training.saved.folder import differences
from umseg.workspace import FoldFolder, ModelFolder, Workspace

_REMEDY = "Train this fold from the beginning with --restart."


def trained_folds(workspace: Workspace) -> Iterator[FoldFolder]:
    """The folds of all models that were begun."""
    for models in workspace.models():
        yield from (fold for fold in models.folds() if fold.trained)


def running(workspace: Workspace) -> Iterator[tuple[FoldFolder, Holder]]:
    """The folds that a process trains or validates at present, and that process."""
    for fold in (fold for models in workspace.models() for fold in models.folds()):
        found = holder(fold.path)
        if found is not None:
            yield fold, found


def retrained(workspace: Workspace, splits: Splits, case_ids: Collection[str]) -> Iterator[str]:
    """A sentence about every run whose fold has other cases now than when it was trained."""
    for fold in trained_folds(workspace):
        trained = recorded_split(fold)
        now = split_of(splits, fold.name, case_ids)
        if trained is None or (now is not None and not other_cases(trained, now)):
            continue
        difference = "there is no such fold any more" if now is None else other_cases(trained, now)
        yield (
            f"{fold.models.path.name}, fold {fold.name}, was trained with other cases than this fold has now "
            f"({difference})."
        )


def recorded_split(fold: FoldFolder) -> Split | None:
    """The cases that a run was trained with; None where an earlier version trained it, or the record is damaged."""
    with contextlib.suppress(UserError):
        return Split.load(fold.split_file, _REMEDY)
    return None


def outdated(workspace: Workspace, plan: Plan, description: DatasetDescription) -> Iterator[str]:
    """A sentence about every trained model that could not be continued under another plan.

    Args:
        workspace: The data set's workspace.
        plan: The plan that it is to have.
        description: Description of the data set.
    """
    for models in dict.fromkeys(fold.models for fold in trained_folds(workspace)):
        difference = _difference(models, plan, description)
        if difference:
            yield (
                f"{models.path.name} was trained under another plan and can only be used for prediction, not "
                f"continued: {difference}."
            )


def _difference(models: ModelFolder, plan: Plan, description: DatasetDescription) -> str | None:
    try:
        card = ModelCard.load(models.card_file, _REMEDY)
        folds = [fold for fold in models.folds() if fold.trained]
        config = TrainingConfig.load(folds[0].config_file, _REMEDY)
    except UserError:
        return None
    name = card.configuration_name
    if name not in plan.configurations:
        return f"its configuration {name} is no longer in the plan"
    # Options of a training take precedence over the plan.
    chosen = {"patch_size": config.patch_size, "batch_size": config.batch_size}
    options = {option: value for option, value in chosen.items() if value is not None}
    configuration = plan.configurations[name].model_copy(update=options)
    configurations = {**plan.configurations, name: configuration}
    now = card.model_copy(
        update={"plan": plan.model_copy(update={"configurations": configurations}), "dataset": description}
    )
    if now == card:
        return None
    trained, planned = differences(card, now)
    return f"trained with {trained}; now planned: {planned}"
