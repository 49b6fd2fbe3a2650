"""What a training says about its data before it begins."""

from __future__ import annotations

import logging
from typing import Literal

from umseg.common.errors import UserError
from umseg.dataset.dataset import Dataset
from umseg.planning.findings import case_warnings, fold_warnings
from umseg.planning.fingerprint import Fingerprint
from umseg.training.data.splits import Split, Splits, in_no_fold
from umseg.workspace import Workspace

log = logging.getLogger(__name__)


def warn_of_data(workspace: Workspace, fold: int | Literal["all"], split: Split) -> None:
    """Warn of cases in no fold, of classes that the fold does not train or validate, and of remarkable images.

    Raises:
        UserError: The workspace is incomplete.
    """
    dataset = workspace.load(Dataset)
    if fold != "all":
        missing = in_no_fold(workspace.load(Splits), [case.id for case in dataset.cases], workspace.file(Splits))
        if missing:
            log.warning("%s", missing)
    try:
        fingerprint = workspace.load(Fingerprint)
    except UserError:
        # Training does not need the measurements.
        return
    used = {*split.train, *split.validation}
    findings = {case: found for case, found in fingerprint.findings_by_case.items() if case in used}
    if not findings:
        # An earlier version measured the data set.
        return
    channels, classes = list(dataset.description.channel_names.values()), list(fingerprint.classes)
    for sentence in (
        *case_warnings(findings, channels),
        *fold_warnings(findings, classes, {str(fold): (split.train, split.validation)}),
    ):
        log.warning("%s", sentence)
