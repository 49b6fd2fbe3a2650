"""``umseg status``: the runs of a workspace."""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from umseg.architectures.options import ModelOptions
from umseg.common.errors import UserError
from umseg.common.files import read_text
from umseg.common.json_file import MOST_BYTES, parse_json
from umseg.common.processes.claims import Holder, holder
from umseg.common.text import table
from umseg.dataset.dataset import Dataset
from umseg.evaluation.records import load_metrics
from umseg.planning.plan import Plan
from umseg.training.config.training_config import TrainingConfig, model_folder, option_of
from umseg.training.data.splits import Splits, in_no_fold
from umseg.training.saved.trained import retrained
from umseg.training.watch.log import EpochLog
from umseg.workspace import DEFAULT_ROOT, FoldFolder, Workspace

_REMEDY = "Train this fold from the beginning with --restart."
_HEADER = ("model", "fold", "epoch", "patch Dice", "moving average", "validation", "last epoch", "state")


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
        score: Title and value of the validation's score; None before the validation.
        process: The process that trains or validates it at present.
    """

    model: str
    fold: str
    config: TrainingConfig
    row: EpochLog | None
    seen: float | None
    complete: bool
    resume: str = ""
    score: tuple[str, float] | None = None
    process: Holder | None = None

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do: fold ``all`` has no validation."""
        return self.complete and (self.score is not None or self.fold == "all")

    @property
    def state(self) -> str:
        """The state in words."""
        if self.process is not None:
            return f"running (process {self.process.pid} on {self.process.host})"
        if self.finished:
            return "complete"
        return "trained, validation not finished" if self.complete else "unfinished"


def find_runs(workspace: Workspace) -> list[Run]:
    """Every fold that was begun, in the order of the folders' names.

    Raises:
        UserError: A file of a run is damaged.
    """
    folders = [fold for models in workspace.models() for fold in models.folds() if fold.config_file.exists()]
    return [_read(folder) for folder in folders]


def find_notices(workspace: Workspace) -> list[str]:
    """Sentences about cases that no fold uses, and about runs whose folds have other cases now.

    Raises:
        UserError: The workspace is damaged or incomplete.
    """
    splits, ids = workspace.load(Splits), [case.id for case in workspace.load(Dataset).cases]
    missing = in_no_fold(splits, ids, workspace.file(Splits))
    return [*([missing] if missing else []), *retrained(workspace, splits, ids)]


def format_runs(runs: list[Run], now: float | None = None, notices: Sequence[str] = ()) -> str:
    """A table with a row per run, mean scores over folds, notices, and the commands that resume unfinished runs.

    Args:
        runs: The runs.
        now: Time in seconds since 1970 from which the age of the last epochs is counted; None means the present.
        notices: Sentences about folds and runs (``find_notices``).
    """
    if not runs:
        return "\n".join(["Nothing has been trained yet.", *notices])
    now = time.time() if now is None else now
    rows = [_HEADER, *(_row(run, now) for run in runs)]
    lines = table(rows)
    if means := list(_means(runs)):
        lines += ["", *means]
    if notices:
        lines += ["", *notices]
    unfinished = [run for run in runs if not run.finished and run.process is None]
    if unfinished:
        lines += ["", "To resume a run that has stopped:", *(f"  {run.resume}" for run in unfinished)]
    return "\n".join(lines)


def _means(runs: list[Run]) -> Iterator[str]:
    """The mean score of every model over its folds, where more than one is validated."""
    for model in dict.fromkeys(run.model for run in runs):
        scored = [(run.fold, *run.score) for run in runs if run.model == model and run.score is not None]
        if len(scored) > 1:
            folds, titles, values = zip(*scored, strict=True)
            mean = sum(values) / len(values)
            yield f"{model}: mean {titles[0]} over folds {', '.join(folds)} is {mean:.3f}."


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
        resume=training_command(folder, config),
        score=_score(folder),
        process=holder(folder.path),
    )


def _score(folder: FoldFolder) -> tuple[str, float] | None:
    """The score of the validation; a training that goes on removes the file."""
    if not (folder.metrics_file.exists() and folder.weights("final").exists()):
        return None
    return load_metrics(folder.metrics_file, "Remove the file; `umseg train` then scores the fold again.").main_score


def training_command(folder: FoldFolder, config: TrainingConfig) -> str:
    """The ``umseg train`` command with the options of a run, which begins or resumes it."""
    workspace = Workspace(folder.models.path.parents[1])
    words = ["umseg", "train", workspace.folder.name]
    if workspace.folder.parent != DEFAULT_ROOT.absolute():
        words += ["--workspace", str(workspace.folder.parent)]
    words += ["--model", config.model, "--config", config.configuration, "--fold", folder.name]
    untagged = model_folder(workspace, config).path.name.partition("__")[0]
    tag = folder.models.path.name.partition("__")[0].removeprefix(untagged).removeprefix("-")
    if tag:
        words += ["--tag", tag]
    configuration = None
    with contextlib.suppress(UserError):  # planned anew without it
        configuration = workspace.load(Plan).configuration(config.configuration)
    return shlex.join([*words, *_changed_options(config, config.implied(configuration))])


def _changed_options(config: TrainingConfig, implied: Mapping[str, object]) -> Iterator[str]:
    """The command-line words of all options that differ from the model's defaults, and from what these imply."""
    defaults = TrainingConfig().model_dump()
    with contextlib.suppress(UserError):  # a model of a package that is no longer installed
        defaults = TrainingConfig.from_options({"model": config.model}).model_dump()
    values = config.model_dump()
    defaults |= {name: value for name, value in implied.items() if defaults[name] is None}
    for field in TrainingConfig.model_fields:
        if field not in ("schema_version", "model", "configuration", "fold", "options"):
            yield from _words(field, values[field], defaults[field])
    for field in ModelOptions.model_fields:
        yield from _words(field, values["options"][field], defaults["options"][field])


def _words(field: str, value: object, default: object) -> tuple[str, ...]:
    """An option as it is written on the command line; nothing if it has its default."""
    option = option_of(field)
    if value is None or value == default:
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
    score = "-" if run.score is None else f"{run.score[0]} {run.score[1]:.3f}"
    return (run.model, run.fold, f"{epoch}/{run.config.epochs}", *scores, score, _age(run.seen, now), run.state)


def _age(seen: float | None, now: float) -> str:
    if seen is None:
        return "never"
    seconds = max(0.0, now - seen)
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"
