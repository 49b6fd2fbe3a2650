"""``umseg status``: the runs of a workspace."""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from umseg.architectures.options import ModelOptions
from umseg.common.errors import UserError
from umseg.common.files import read_text
from umseg.common.json_file import MOST_BYTES, parse_json
from umseg.common.text import table
from umseg.training.config.training_config import TrainingConfig, model_folder, option_of
from umseg.training.watch.log import EpochLog
from umseg.workspace import DEFAULT_ROOT, FoldFolder, Workspace

_REMEDY = "Train this fold from the beginning with --restart."
_HEADER = ("model", "fold", "epoch", "Dice", "moving average", "last epoch", "state")


@dataclass(frozen=True)
class Run:
    """One fold of a model folder.

    Attributes:
        model: Name of the model folder.
        fold: Name of the fold.
        config: The run's configuration.
        row: The log of the last epoch; None before the first one ends.
        seen: Time of the last checkpoint in seconds since 1970; None before the first one.
        complete: Whether all epochs are trained.
        resume: The command that resumes the run.
    """

    model: str
    fold: str
    config: TrainingConfig
    row: EpochLog | None
    seen: float | None
    complete: bool
    resume: str = ""


def find_runs(workspace: Workspace) -> list[Run]:
    """Every fold that was begun, in the order of the folders' names.

    Raises:
        UserError: A file of a run is damaged.
    """
    folders = [fold for models in workspace.models() for fold in models.folds() if fold.config_file.exists()]
    return [_read(folder) for folder in folders]


def format_runs(runs: list[Run], now: float | None = None) -> str:
    """A table with a row per run, and the commands that resume unfinished runs.

    Args:
        runs: The runs.
        now: Time in seconds since 1970 from which the age of the last epochs is counted; None means the present.
    """
    if not runs:
        return "Nothing has been trained yet."
    now = time.time() if now is None else now
    rows = [_HEADER, *(_row(run, now) for run in runs)]
    lines = table(rows)
    unfinished = [run for run in runs if not run.complete]
    if unfinished:
        lines += ["", "To resume a run that has stopped:", *(f"  {run.resume}" for run in unfinished)]
    return "\n".join(lines)


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
        resume=_resume_command(folder, config),
    )


def _resume_command(folder: FoldFolder, config: TrainingConfig) -> str:
    """The ``umseg train`` command with the options of a run."""
    workspace = Workspace(folder.models.path.parents[1])
    words = ["umseg", "train", workspace.folder.name]
    if workspace.folder.parent != DEFAULT_ROOT.absolute():
        words += ["--workspace", str(workspace.folder.parent)]
    words += ["--model", config.model, "--config", config.configuration, "--fold", folder.name]
    untagged = model_folder(workspace, config).path.name.partition("__")[0]
    tag = folder.models.path.name.partition("__")[0].removeprefix(untagged).removeprefix("-")
    if tag:
        words += ["--tag", tag]
    return shlex.join([*words, *_changed_options(config)])


def _changed_options(config: TrainingConfig) -> Iterator[str]:
    """The command-line words of all options that differ from the model's defaults."""
    defaults = TrainingConfig().model_dump()
    with contextlib.suppress(UserError):  # a model of a package that is no longer installed
        defaults = TrainingConfig.from_options({"model": config.model}).model_dump()
    values = config.model_dump()
    for field in TrainingConfig.model_fields:
        if field not in ("schema_version", "model", "configuration", "fold", "options"):
            yield from _words(field, values[field], defaults[field])
    for field in ModelOptions.model_fields:
        yield from _words(field, values["options"][field], defaults["options"][field])


def _words(field: str, value: object, default: object) -> tuple[str, ...]:
    """An option as it is written on the command line; nothing if it has its default."""
    option = option_of(field)
    if value == default:
        return ()
    if isinstance(value, bool):
        return (option if value else option.replace("--", "--no-", 1),)
    if isinstance(value, tuple):
        return option, ",".join(map(str, value)) or "none"
    return option, str(value)


def _last_row(log: Path) -> EpochLog | None:
    try:
        lines = read_text(log, MOST_BYTES, remedy=_REMEDY).splitlines()
        content = parse_json(lines[-1]) if lines else None
    except (OSError, ValueError) as error:
        raise UserError("The log of a run is damaged.", file=log, found=str(error), remedy=_REMEDY) from error
    return None if content is None else EpochLog.from_json(content, log, _REMEDY)


def _row(run: Run, now: float) -> tuple[str, ...]:
    epoch = run.row.epoch if run.row else 0
    scores = (f"{run.row.mean_dice:.3f}", f"{run.row.ema_dice:.3f}") if run.row else ("-", "-")
    state = "complete" if run.complete else "unfinished"
    return (run.model, run.fold, f"{epoch}/{run.config.epochs}", *scores, _age(run.seen, now), state)


def _age(seen: float | None, now: float) -> str:
    if seen is None:
        return "never"
    seconds = max(0.0, now - seen)
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"
