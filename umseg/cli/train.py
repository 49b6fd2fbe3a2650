"""``umseg train``: every field of ``TrainingConfig`` is an option."""

from __future__ import annotations

import json
import logging
import math
import re
import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from umseg.cli.options import WORKSPACE_ROOT, Config, Debug, Device, LoaderWorkers, Planned, Precision, Quiet, Workspace
from umseg.common.errors import UserError
from umseg.planning.plan import Plan

_OPTIMIZER = "sgd, adam, adamw or muon."
_OF_MAMBA = "of the Mamba layers alone"


def train(
    context: typer.Context,
    dataset: Planned,
    workspace: Workspace = WORKSPACE_ROOT,
    config: Config = None,
    model: Annotated[
        str,
        typer.Option(
            help="umamba_enc, umamba_bot, umamba_enc_released, umamba_bot_released, nnunet, nnunet_resenc; or of MONAI "
            "segresnet, unetr, swin_unetr."
        ),
    ] = "umamba_enc",
    fold: Annotated[
        str, typer.Option(help="Cross-validation fold 0 to 4, or all; several one after another: 0,1,2.")
    ] = "0",
    recipe: Annotated[
        str, typer.Option(help="Defaults of the options below: paper, or quick, ours for a tenth of the iterations.")
    ] = "paper",
    epochs: Annotated[int, typer.Option(min=1, help="More than before continues a complete run.")] = 1000,
    iterations: Annotated[int, typer.Option(min=1, help="Training batches per epoch.")] = 250,
    validation_iterations: Annotated[
        int | None, typer.Option(min=1, help="Validation batches per epoch. [default: a fifth of --iterations]")
    ] = None,
    ssm: Annotated[bool, typer.Option("--ssm/--no-ssm", help="Build the Mamba layers, or take them out.")] = True,
    ssm_residual: Annotated[
        bool, typer.Option("--ssm-residual", help="Connection around each Mamba layer, which starts as the identity.")
    ] = False,
    optimizer: Annotated[
        str,
        typer.Option(
            help=f"{_OPTIMIZER} muon leaves norms, biases and output layers to adamw, at a tenth of its rate, and "
            "Mamba layers to adamw with its own."
        ),
    ] = "sgd",
    lr: Annotated[
        float | None,
        typer.Option(help="Initial learning rate. [default: 0.01 for sgd, 0.001 for adam and adamw, 0.1 for muon]"),
    ] = None,
    momentum: Annotated[float, typer.Option(help="Of sgd, Nesterov's.")] = 0.99,
    weight_decay: Annotated[
        float | None, typer.Option(help="[default: 3e-5 for sgd, 0 for adam, 0.01 for adamw and muon]")
    ] = None,
    ssm_optimizer: Annotated[
        str | None,
        typer.Option(help=f"Optimiser {_OF_MAMBA}: {_OPTIMIZER} [default: as all the rest, but adamw beside muon]"),
    ] = None,
    ssm_lr: Annotated[
        float | None, typer.Option(help=f"Initial learning rate {_OF_MAMBA}. [default: --lr, or their optimiser's]")
    ] = None,
    ssm_weight_decay: Annotated[
        float | None, typer.Option(help=f"Weight decay {_OF_MAMBA}. [default: --weight-decay, or their optimiser's]")
    ] = None,
    eps: Annotated[float, typer.Option(help="Of adam and adamw: added to the root of the second moment.")] = 1e-8,
    schedule: Annotated[str, typer.Option(help="Fall of the learning rate: poly, cosine or constant.")] = "poly",
    power: Annotated[float, typer.Option(help="Exponent of poly.")] = 0.9,
    lr_end: Annotated[float, typer.Option(help="Learning rate at the end of cosine.")] = 0.0,
    warmup: Annotated[int, typer.Option(min=0, help="Iterations in which the learning rate rises.")] = 0,
    ema: Annotated[
        float, typer.Option(help="Decay of an average of the weights that is kept instead of the last; 0: none.")
    ] = 0.0,
    clip: Annotated[float, typer.Option(help="Largest norm of the gradients; 0: any.")] = 12.0,
    accumulate: Annotated[int, typer.Option(min=1, help="Parts in which a batch is computed, to save memory.")] = 1,
    checkpoint_activations: Annotated[
        bool, typer.Option("--checkpoint-activations", help="Compute activations twice, to save memory.")
    ] = False,
    deep_supervision: Annotated[
        bool, typer.Option("--deep-supervision/--no-deep-supervision", help="Train the lower decoder stages too.")
    ] = True,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Patches per iteration. [default: the plan's]")] = None,
    patch_size: Annotated[
        str | None,
        typer.Option(help="Voxels, in the plan's order of axes, e.g. 40,56,40. [default: the plan's]"),
    ] = None,
    oversampling: Annotated[float, typer.Option(help="Share of a batch that must show foreground.")] = 0.33,
    mirror_axes: Annotated[
        str | None, typer.Option(help="Axes of the patch that are mirrored, e.g. 0,1, or none. [default: all]")
    ] = None,
    augmentation: Annotated[
        str, typer.Option(help="cpu: by the workers; gpu: by the GPU that trains, for few CPU cores; none.")
    ] = "cpu",
    transforms: Annotated[
        str,
        typer.Option(
            help="Of the augmentation: umamba interpolates by cubic splines, nnunet linearly, as newer releases of "
            "nnU-Net do, which is faster."
        ),
    ] = "umamba",
    loss: Annotated[str, typer.Option(help="dice_ce, dice, ce, dice_topk or dice_focal.")] = "dice_ce",
    first_stage: Annotated[
        str | None,
        typer.Option(help="Model folder of a cascade's first stage. [default: of the same --model and --tag]"),
    ] = None,
    init_from: Annotated[
        str | None, typer.Option(help="Model folder whose weights to start from: fine-tuning.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights, batches and augmentation.")] = 0,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="On a GPU too: two runs give the same weights, some slower.")
    ] = False,
    compile: Annotated[bool, typer.Option("--compile", help="Fuse operators with torch.compile.")] = False,
    options: Annotated[
        Path | None, typer.Option(help="YAML file of options, e.g. `epochs: 300`; those given here win.")
    ] = None,
    show_config: Annotated[bool, typer.Option("--show-config", help="Print all options as they are, and end.")] = False,
    tag: Annotated[str | None, typer.Option(help="Suffix of the model folder, to keep experiments apart.")] = None,
    restart: Annotated[
        bool, typer.Option("--restart/--resume", help="Discard earlier runs of these folds, or continue them.")
    ] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write curves for TensorBoard too.")] = False,
    max_time: Annotated[
        str | None, typer.Option(help="Stop by then, as Ctrl-C does, and save: hours:minutes:seconds.")
    ] = None,
    validate: Annotated[
        bool, typer.Option("--validate/--no-validate", help="Segment and score the held-out cases at the end.")
    ] = True,
    device: Device = "auto",
    precision: Precision = "auto",
    workers: LoaderWorkers = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train a network; an interrupted run continues when the same command is given again.

    Ctrl-C, SIGTERM and --max-time end a run after the iteration; everything is saved and the exit code is 0.

    On several GPUs: torchrun --nproc-per-node 4 -m umseg train ...; they share every batch.
    """
    from umseg.training.config.training_config import TrainingConfig, default_loader_workers
    from umseg.training.loop.processes import environment
    from umseg.workspace import Workspace as PlannedWorkspace

    planned = PlannedWorkspace.of(dataset, workspace)
    choices = _choices(context, options)
    choices["configuration"] = choices.pop("config", None) or planned.load(Plan).default_configuration
    folds = [_fold(text) for text in str(choices.pop("fold", 0)).split(",")]
    settings = [TrainingConfig.from_options({**choices, "fold": number}) for number in folds]
    if show_config:
        configuration = planned.load(Plan).configuration(settings[0].configuration, planned.plan_file)
        typer.echo(json.dumps(settings[0].resolved(configuration).model_dump(mode="json"), indent=2))
        return
    # One limit for all folds together: it is the scheduler's.
    end = math.inf if max_time is None else time.monotonic() + parse_duration(max_time)
    workers = default_loader_workers() if workers is None else workers
    first = environment().first
    if not first:
        logging.getLogger("umseg").setLevel(logging.ERROR)
    for setting in settings:
        # All folds together, at the beginning: a run that is stopped in one of them goes on without --restart.
        discard = [each.fold for each in settings] if restart and setting is settings[0] else []
        finished = _train_fold(
            planned.folder, setting, validate=validate, device=device, workers=workers, tag=tag,
            discard=discard, max_seconds=end - time.monotonic(), tensorboard=tensorboard, quiet=quiet,
        )  # fmt: skip
        if not finished:
            if first:
                typer.echo("To continue: " + _command(environment().count))
            return


def _command(processes: int) -> str:
    """What was typed, without what must not be repeated."""
    starter = ["umseg"] if processes == 1 else ["torchrun", "--nproc-per-node", "...", "-m", "umseg"]
    return shlex.join([*starter, *(argument for argument in sys.argv[1:] if argument != "--restart")])


def parse_duration(text: str) -> float:
    """Seconds of ``hours:minutes:seconds``.

    Raises:
        UserError: It is something else.
    """
    match = re.fullmatch(r"(\d+):([0-5]?\d):([0-5]?\d)", text)
    if match is None:
        raise UserError("--max-time is not a time.", found=text, expected="hours:minutes:seconds, e.g. 08:00:00")
    hours, minutes, seconds = (int(part) for part in match.groups())
    return 3600.0 * hours + 60 * minutes + seconds


def _train_fold(workspace: Path, settings: Any, *, validate: bool, device: str, **how: Any) -> bool:
    """Train, and validate if asked to; returns whether training is complete."""
    from umseg.evaluation import format_table
    from umseg.training import train as run
    from umseg.training.loop.processes import environment
    from umseg.workflows.validate import earlier_validation, validate_fold
    from umseg.workspace import FINAL
    from umseg.workspace import Workspace as PlannedWorkspace

    first = environment().first
    folder = run(workspace, settings, device=device, **how)
    if not (folder / FINAL).exists():
        return False
    if validate and settings.fold != "all":
        metrics = earlier_validation(folder) or validate_fold(
            PlannedWorkspace(workspace),
            folder,
            device=device,
            precision=settings.precision,
            workers=how["workers"],
            quiet=how["quiet"],
        )
        if metrics is not None and first:
            typer.echo(format_table(metrics))
    if first:
        typer.echo(f"Model: {folder.parent}")
    return True


_NOT_TRAINING = {"context", "dataset", "workspace", "options", "show_config", "tag", "restart", "max_time", "validate"}
_NOT_TRAINING |= {"device", "workers", "quiet", "debug", "tensorboard"}


def _choices(context: typer.Context, file: Path | None) -> dict[str, Any]:
    """The options that were given: those of the file, under those of the command line."""
    known = [name for name in context.params if name not in _NOT_TRAINING]
    choices: dict[str, Any] = {}
    for name, value in (read_options(file) if file else {}).items():
        if name not in known:
            raise UserError(
                f"Unknown training option '{name}'.",
                file=file,
                found=name,
                expected=", ".join(sorted(known)),
                remedy="Options in the file are named as on the command line, e.g. `weight_decay: 1e-4`.",
            )
        choices[name] = value
    for name in known:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            choices[name] = context.params[name]
    choices["options"] = {name: choices.pop(name) for name in ("ssm", "ssm_residual") if name in choices}
    return choices


def read_options(file: Path) -> Mapping[str, Any]:
    """The options of a YAML file, their names with underscores.

    Raises:
        UserError: The file is missing or holds something else than names and values.
    """
    import yaml

    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError("The file of options cannot be read.", file=file, found=str(error)) from error
    if not isinstance(content, dict):
        raise UserError(
            "The file of options does not hold names and values.",
            file=file,
            found=type(content).__name__,
            expected="lines such as `epochs: 300`",
        )
    return {str(name).replace("-", "_"): _number(value) for name, value in content.items()}


def _number(value: Any) -> Any:
    """YAML 1.1 takes 1e-4, without a point, for a text."""
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", value):
        return float(value)
    return value


def _fold(text: str) -> int | str:
    text = text.strip()
    if text == "all":
        return text
    try:
        return int(text)
    except ValueError as error:
        raise UserError("--fold is not valid.", found=text, expected="a whole number, or all") from error
