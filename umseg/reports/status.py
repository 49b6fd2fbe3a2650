"""``umseg status``: the runs of a workspace."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

from umseg.common.errors import UserError
from umseg.training.config.training_config import TrainingConfig
from umseg.training.watch.log import EpochLog
from umseg.workspace import FoldFolder, Workspace

_REMEDY = "Train this fold anew with --restart."
_HEADER = ("model", "fold", "epoch", "Dice", "moving average", "last epoch", "state")


@dataclass(frozen=True)
class Run:
    """One fold of a model folder.

    Attributes:
        model: Name of the model folder.
        fold: Its fold.
        config: What is trained.
        row: The last epoch; None before the first ends.
        seen: Time of the last checkpoint, seconds since 1970; None before the first.
        complete: All epochs are trained.
    """

    model: str
    fold: str
    config: TrainingConfig
    row: EpochLog | None
    seen: float | None
    complete: bool


def find_runs(workspace: Workspace) -> list[Run]:
    """Every fold that was begun, in the order of the folders' names.

    Raises:
        UserError: A file of a run is damaged.
    """
    folders = [fold for models in workspace.models() for fold in models.folds() if fold.config_file.exists()]
    return [_read(folder) for folder in folders]


def format_runs(runs: list[Run], now: float | None = None) -> str:
    """A table with a row per run; ``now`` is the time from which the last epoch's age is counted."""
    if not runs:
        return "Nothing has been trained yet."
    now = time.time() if now is None else now
    rows = [_HEADER, *(_row(run, now) for run in runs)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _read(folder: FoldFolder) -> Run:
    config = TrainingConfig.load(folder.config_file, _REMEDY)
    log, latest = folder.log_records, folder.checkpoint
    return Run(
        model=folder.models.path.name,
        fold=folder.name,
        config=config,
        row=_last_row(log) if log.exists() else None,
        seen=latest.stat().st_mtime if latest.exists() else None,
        complete=folder.weights("final").exists(),
    )


def _last_row(log: Path) -> EpochLog | None:
    try:
        lines = log.read_text(encoding="utf-8").splitlines()
        content = json.loads(lines[-1]) if lines else None
    except (OSError, ValueError) as error:
        raise UserError("The log of a run is damaged.", file=log, found=str(error), remedy=_REMEDY) from error
    return None if content is None else EpochLog.from_json(content, log, _REMEDY)


def _row(run: Run, now: float) -> tuple[str, ...]:
    epoch = run.row.epoch if run.row else 0
    scores = (f"{run.row.mean_dice:.3f}", f"{run.row.ema_dice:.3f}") if run.row else ("-", "-")
    state = "complete" if run.complete else "unfinished: give the same `umseg train` command to continue"
    return (run.model, run.fold, f"{epoch}/{run.config.epochs}", *scores, _age(run.seen, now), state)


def _age(seen: float | None, now: float) -> str:
    if seen is None:
        return "never"
    seconds = max(0.0, now - seen)
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"
