"""What a plan says before it changes a workspace: about the data, and about models that it would leave behind."""

from __future__ import annotations

import logging

from umseg.common.errors import UserError
from umseg.dataset.description import DatasetDescription
from umseg.planning import Fingerprint, Plan
from umseg.planning.findings import case_warnings, dataset_warnings, fold_warnings
from umseg.training.data.splits import Splits
from umseg.training.saved.trained import outdated, running
from umseg.workspace import Workspace

log = logging.getLogger(__name__)


def warn_of_findings(fingerprint: Fingerprint, description: DatasetDescription, splits: Splits) -> None:
    """Warn of blank images, constant channels, few cases, and classes that few cases or no fold have."""
    findings, classes = fingerprint.findings_by_case, list(fingerprint.classes)
    folds = {str(number): (fold.train, fold.validation) for number, fold in enumerate(splits.folds)}
    for sentence in (
        *case_warnings(findings, list(description.channel_names.values())),
        *dataset_warnings(findings, classes),
        *fold_warnings(findings, classes, folds),
    ):
        log.warning("%s", sentence)


def protect_models(workspace: Workspace, plan: Plan, fingerprint: Fingerprint, description: DatasetDescription) -> None:
    """Warn of trained models that the new plan does not fit; refuse it while a model is being trained.

    Raises:
        UserError: Another process trains in this workspace, and plan or data have changed.
    """
    if not workspace.plan_file.exists():
        return
    for sentence in outdated(workspace, plan, description):
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
