"""``data.html`` of a workspace: written while a data set is planned, from what the fingerprint saw of each case."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from umseg.common.errors import UserError
from umseg.common.files import write_text
from umseg.dataset.dataset import Dataset
from umseg.planning import Fingerprint
from umseg.planning.sights import CaseSight
from umseg.reports.page.data_page import data_page, describes
from umseg.workspace import Workspace

log = logging.getLogger(__name__)

_HEAD = 4096
"""Bytes of a page within which it names its data."""


def has_data_page(workspace: Workspace, fingerprint: Fingerprint) -> bool:
    """Whether the workspace has the page of these data."""
    try:
        with workspace.data_page.open("rb") as handle:
            return describes(handle.read(_HEAD).decode("utf-8", errors="replace"), fingerprint)
    except OSError:
        return False


def write_data_page(
    workspace: Workspace, dataset: Dataset, fingerprint: Fingerprint, sights: Sequence[CaseSight]
) -> None:
    """Write the page; where that is not possible, a warning says so, and planning goes on.

    Args:
        workspace: The data set's workspace.
        dataset: The data set.
        fingerprint: Its measurements.
        sights: What was seen of each case, in the order of the fingerprint's.
    """
    try:
        write_text(workspace.data_page, data_page(fingerprint, sights, dataset.description))
    except UserError as error:
        log.warning("The page of the data set is missing. %s", error)
