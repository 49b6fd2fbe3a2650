"""What a plan says before it changes a workspace: about the data, and about models that it would leave behind."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from umseg.common.errors import UserError
from umseg.dataset.dataset import Dataset
from umseg.dataset.description import DatasetDescription
from umseg.models.card import ModelCard
from umseg.planning import Fingerprint, Plan
from umseg.planning.findings import case_warnings, dataset_warnings, fold_warnings
from umseg.training.config.training_config import TrainingConfig
from umseg.training.data.splits import Splits
from umseg.training.saved.folder import differences
from umseg.training.saved.trained import running, trained_folds
from umseg.workspace import ModelFolder, Workspace

log = logging.getLogger(__name__)

_REMEDY = "Train this fold from the beginning with --restart."


def warn_of_findings(fingerprint: Fingerprint, description: DatasetDescription, splits: Splits) -> None:
    """Warn of blank images, constant channels, few cases, and classes that few cases or no fold have."""
    findings = fingerprint.findings_by_case
    # The summary names classes that no case has.
    classes = [name for name, statistics in fingerprint.classes.items() if statistics.cases]
    folds = {str(number): (fold.train, fold.validation) for number, fold in enumerate(splits.folds)}
    for sentence in (
        *case_warnings(findings, list(description.channel_names.values())),
        *dataset_warnings(findings, classes),
        *fold_warnings(findings, classes, folds),
    ):
        log.warning("%s", sentence)


def protect_models(workspace: Workspace, plan: Plan, fingerprint: Fingerprint, dataset: Dataset) -> None:
    """Warn of trained models that the new plan does not fit; refuse it while a model is being trained.

    Raises:
        UserError: Another process trains in this workspace, and plan or data have changed.
    """
    if not workspace.plan_file.exists():
        return
    for sentence in _outdated(workspace, plan, dataset):
        log.warning("%s", sentence)
    if _unchanged(workspace, plan, fingerprint):
        return
    for fold, process in running(workspace):
        raise UserError(
            "A training is running in this workspace, from whose images another plan would remove some.",
            file=fold.path,
            found=str(process),
            remedy="Wait until it ends, or plan into another --workspace.",
        )


def _unchanged(workspace: Workspace, plan: Plan, fingerprint: Fingerprint) -> bool:
    try:
        earlier = workspace.load(Plan), workspace.load(Fingerprint).content_hash
    except UserError:
        return False
    return earlier == (plan, fingerprint.content_hash)


def _outdated(workspace: Workspace, plan: Plan, dataset: Dataset) -> Iterator[str]:
    """A sentence about every trained model that could not be continued under another plan.

    Args:
        workspace: The data set's workspace.
        plan: The plan that it is to have.
        dataset: The data set.
    """
    for models in dict.fromkeys(fold.models for fold in trained_folds(workspace)):
        difference = _difference(models, plan, dataset)
        if difference:
            yield (
                f"{models.path.name} was trained under another plan and can only be used for prediction, not "
                f"continued: {difference}."
            )


def _difference(models: ModelFolder, plan: Plan, dataset: Dataset) -> str | None:
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
    changes: dict[str, object] = {
        "plan": plan.model_copy(update={"configurations": configurations}),
        "dataset": dataset.description,
    }
    if "orientation" in card.model_fields_set:
        changes["orientation"] = dataset.orientation
    now = card.model_copy(update=changes)
    if now == card:
        return None
    trained, planned = differences(card, now)
    return f"trained with {trained}; now planned: {planned}"
