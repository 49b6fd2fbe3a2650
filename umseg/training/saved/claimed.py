"""The claims of a training: nobody else trains these folds, and nobody plans their data set anew."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Collection, Iterator
from pathlib import Path

from umseg.common.errors import UserError
from umseg.common.processes.claims import claim, holder
from umseg.workspace import ModelFolder, Workspace


@contextlib.contextmanager
def claimed_folds(
    workspace: Workspace, models: ModelFolder, folds: Collection[int | str], first: bool = True
) -> Iterator[None]:
    """Hold folds of a model.

    Args:
        workspace: The data set's workspace.
        models: The model folder.
        folds: The folds that are trained, validated or discarded.
        first: Whether this is the first of the processes that train together; only that one claims.

    Raises:
        UserError: Another process trains one of the folds, or plans the workspace.
    """
    with contextlib.ExitStack() as held:
        if first:
            _require_planned(workspace)
            for fold in sorted({models.fold(name).path for name in folds}):
                # A folder that was cleared and then not used goes when its claim has ended.
                held.callback(_remove_empty, fold)
                held.enter_context(claim(fold, "trains this fold"))
        yield


def _require_planned(workspace: Workspace) -> None:
    found = holder(workspace.folder)
    if found is not None and (found.pid, found.host) != (os.getpid(), socket.gethostname()):
        raise UserError(
            f"The workspace is in use: another process {found.purpose}.",
            file=workspace.folder,
            found=str(found),
            remedy="Wait until planning has ended; then run the same command again.",
        )


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):  # it is not empty
        folder.rmdir()
