"""``umseg train``; its training options are built from ``TrainingConfig`` (``umseg.cli.training_options``)."""

from __future__ import annotations

import json
import logging
import math
import re
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from umseg.cli.support.console import say
from umseg.cli.support.options import WORKSPACE_ROOT, Debug, Device, LoaderWorkers, Planned, Quiet, Workspace
from umseg.common.errors import UserError
from umseg.common.text import printable

if TYPE_CHECKING:
    from umseg.training.config.training_config import TrainingConfig

log = logging.getLogger(__name__)


def train(
    context: typer.Context,
    dataset: Planned,
    workspace: Workspace = WORKSPACE_ROOT,
    options: Annotated[
        Path | None,
        typer.Option(
            help="YAML file of options, e.g. `epochs: 300`; the command line takes precedence.",
            rich_help_panel="What to train",
        ),
    ] = None,
    device: Device = "auto",
    workers: LoaderWorkers = None,
    tag: Annotated[
        str | None,
        typer.Option(help="Suffix of the model folder's name, to keep experiments apart.", rich_help_panel="Output"),
    ] = None,
    restart: Annotated[
        bool,
        typer.Option(
            "--restart/--resume",
            help="Discard earlier runs of these folds, or continue them.",
            rich_help_panel="Output",
        ),
    ] = False,
    validate: Annotated[
        bool,
        typer.Option(
            "--validate/--no-validate",
            help="Segment and score the held-out cases at the end.",
            rich_help_panel="Output",
        ),
    ] = True,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write curves for TensorBoard.", rich_help_panel="Output")
    ] = False,
    max_time: Annotated[
        str | None,
        typer.Option(
            help="Stop and save after this time, as after Ctrl-C: hours:minutes:seconds.", rich_help_panel="Output"
        ),
    ] = None,
    show_config: Annotated[
        bool,
        typer.Option(
            "--show-config", help="Print the values of all training options and exit.", rich_help_panel="Output"
        ),
    ] = False,
    quiet: Quiet = False,
    debug: Debug = False,
    **training: Any,
) -> None:
    """Train a network; an interrupted run is resumed by the same command.

    Ctrl-C, SIGTERM and --max-time end a run after the current iteration; everything is saved and the exit code is 0.
    The same holds for Ctrl-C and SIGTERM in the validation at the end, which the same command then repeats.

    On several GPUs: torchrun --nproc-per-node 4 -m umseg train ...; they share every batch.
    """
    from umseg.cli.support.next_step import next_step
    from umseg.cli.training_options import chosen_options, fold_settings
    from umseg.common.hardware_names import check_device_name
    from umseg.workspace import Workspace as PlannedWorkspace

    planned = PlannedWorkspace.of(dataset, workspace)
    check_device_name(device)
    settings = fold_settings(planned, chosen_options(context, training, options))
    if show_config:
        say(_resolved(planned, settings[0]))
        return
    # All folds share one limit, because it is the scheduler's.
    end = math.inf if max_time is None else time.monotonic() + parse_duration(max_time)
    from umseg.training.config.training_config import default_loader_workers, model_folder
    from umseg.training.loop.processes import environment

    workers = default_loader_workers() if workers is None else workers
    processes = environment()
    if not processes.first:
        logging.getLogger("umseg").setLevel(logging.ERROR)
    for setting in settings:
        # All folds are discarded at the beginning: a run that stops in one of them is resumed without --restart.
        discard = [each.fold for each in settings] if restart and setting is settings[0] else []
        finished = _train_fold(
            planned.folder, setting, validate=validate, device=device, workers=workers, tag=tag,
            discard=discard, max_seconds=end - time.monotonic(), tensorboard=tensorboard, quiet=quiet,
        )  # fmt: skip
        if not finished:
            if processes.first:
                say("To resume: " + _command(processes.count))
            return
    if processes.first:
        model = model_folder(planned, settings[0], tag).path
        say(next_step("predict", "--model", model, "--input", "FOLDER", "--output", "FOLDER"))


def parse_duration(text: str) -> float:
    """Seconds of ``hours:minutes:seconds``.

    Raises:
        UserError: The text has another form.
    """
    match = re.fullmatch(r"([0-9]{1,6}):([0-5]?[0-9]):([0-5]?[0-9])", text)
    if match is None:
        raise UserError(
            "--max-time is not a time.", found=printable(text), expected="hours:minutes:seconds, e.g. 08:00:00"
        )
    hours, minutes, seconds = (int(part) for part in match.groups())
    return 3600.0 * hours + 60 * minutes + seconds


def _resolved(planned: Any, setting: TrainingConfig) -> str:
    """All training options as JSON, with the plan's values where the user chose none."""
    from umseg.planning.plan import Plan

    configuration = planned.load(Plan).configuration(setting.configuration, planned.plan_file)
    return json.dumps(setting.resolved(configuration).model_dump(mode="json"), indent=2)


def _train_fold(workspace: Path, setting: TrainingConfig, *, validate: bool, device: str, **how: Any) -> bool:
    """Train, and validate if the user asks for it; returns whether all is done, and not stopped in between."""
    from umseg.evaluation import format_table
    from umseg.training import train as run
    from umseg.training.config.training_config import model_folder
    from umseg.training.loop.processes import environment
    from umseg.training.loop.stop import sigterm_as_interrupt
    from umseg.training.saved.claimed import claimed_folds
    from umseg.training.watch.run_log import RunLog
    from umseg.workflows.validate import check_originals, earlier_validation, validate_fold
    from umseg.workspace import FoldFolder
    from umseg.workspace import Workspace as PlannedWorkspace

    first, planned = environment().first, PlannedWorkspace(workspace)
    validate = validate and setting.fold != "all"
    if validate:
        check_originals(planned, setting.fold)
    # The claim lasts until the fold is validated.
    with claimed_folds(planned, model_folder(planned, setting, how["tag"]), [setting.fold, *how["discard"]], first):
        folder = run(workspace, setting, device=device, **how)
        if not FoldFolder(folder).weights("final").exists():
            return False
        if validate:
            try:
                with sigterm_as_interrupt(), RunLog(FoldFolder(folder).log_text if first else None) as run_log:
                    metrics = earlier_validation(planned, folder) or validate_fold(
                        planned,
                        folder,
                        device=device,
                        precision=setting.precision,
                        workers=how["workers"],
                        quiet=how["quiet"],
                        say=run_log,
                    )
                    if metrics is not None and first:
                        table = format_table(metrics)
                        say(table)
                        run_log.note(f"Validation of fold {setting.fold}:\n{table}")
            except KeyboardInterrupt:
                if first:
                    log.warning("Stopped in the validation of fold %s; the trained weights are saved.", setting.fold)
                return False
    if first:
        say(f"Model: {folder.parent}")
    return True


def _command(processes: int) -> str:
    """The command line that was given, without --restart, which must not be repeated."""
    starter = ["umseg"] if processes == 1 else ["torchrun", "--nproc-per-node", "...", "-m", "umseg"]
    return shlex.join([*starter, *(argument for argument in sys.argv[1:] if argument != "--restart")])
