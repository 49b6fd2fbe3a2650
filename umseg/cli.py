"""The command line: one function per verb. Heavy imports stand inside, so that ``umseg --help`` answers at once."""

from __future__ import annotations

import functools
import logging
import shlex
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from umseg import __version__
from umseg.common.errors import UserError

FunctionT = TypeVar("FunctionT", bound=Callable[..., None])

app = typer.Typer(
    name="umseg",
    help="Self-configuring biomedical image segmentation: plan, train, predict, evaluate.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
convert = typer.Typer(
    help="Make a data set in nnU-Net v2's raw format from another layout.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(convert, name="convert")

Workspace = Annotated[Path, typer.Option("--workspace", help="Where workspaces are kept, one folder per data set.")]
Workers = Annotated[
    int | None,
    typer.Option("--workers", min=0, help="Worker processes; 0: none. [default: one per core, up to 8]"),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")]
Precision = Annotated[str, typer.Option("--precision", help="auto, fp32, bf16 or fp16 (of the convolutions).")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars, only results and warnings.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error, and more log messages.")]

WORKSPACE_ROOT = Path("umseg-workspace")


def verb(function: FunctionT, group: typer.Typer = app) -> FunctionT:
    """Register a verb whose user errors end in one message and exit code 2; ``--debug`` shows where they arose.

    Args:
        function: The verb; its name is the command's.
        group: Where it is registered: umseg itself, or a command that has commands of its own.
    """

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> None:
        debug, quiet = kwargs["debug"], kwargs["quiet"]
        level = logging.DEBUG if debug else logging.WARNING if quiet else logging.INFO
        logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
        logging.getLogger("umseg").setLevel(level)
        try:
            function(*args, **kwargs)
        except UserError as error:
            if debug:
                traceback.print_exc()
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            typer.echo("interrupted", err=True)
            raise typer.Exit(130) from None

    group.command(name=function.__name__)(guarded)
    return function


@app.callback(invoke_without_command=True)
def version(
    show: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Options of ``umseg`` itself."""
    if show:
        typer.echo(f"umseg {__version__}")
        raise typer.Exit


@verb
def plan(
    dataset: Annotated[Path, typer.Argument(help="Data set folder: dataset.json, imagesTr/, labelsTr/.")],
    workspace: Workspace = WORKSPACE_ROOT,
    preset: Annotated[
        str,
        typer.Option(help="Planning rules: default (the paper's), nnunet, resenc-m, resenc-l, resenc-xl, or cpu."),
    ] = "default",
    memory_gb: Annotated[
        float | None,
        typer.Option("--memory-gb", help="GPU memory to plan for. [default: the preset's, 8 for default]"),
    ] = None,
    for_model: Annotated[
        str | None,
        typer.Option(help="Plan so that this model's own expected memory fits, not the published estimate's."),
    ] = None,
    spacing: Annotated[
        str | None,
        typer.Option(help="Target spacing z,y,x in mm, e.g. 2.5,0.8,0.8. [default: chosen from the data]"),
    ] = None,
    patch_size: Annotated[
        str | None,
        typer.Option(help="Patch z,y,x of the 3-D configurations, or y,x of 2d, in voxels. [default: what fits]"),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, help="Patches per training iteration. [default: what fits]"),
    ] = None,
    config: Annotated[
        list[str] | None,
        typer.Option("--config", help="Configuration to preprocess; repeat for several. [default: all]"),
    ] = None,
    fix_geometry: Annotated[
        bool, typer.Option("--fix-geometry", help="Use copies of label maps under the header of their image.")
    ] = False,
    workers: Workers = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Check a data set, measure it, decide how to train on it, and preprocess it."""
    from umseg.common.parallel import default_workers
    from umseg.planning import Overrides
    from umseg.workflows.summary import plan_summary
    from umseg.workflows.workspace import plan_dataset

    workers = default_workers() if workers is None else workers
    made, fingerprint, decided = plan_dataset(
        dataset,
        workspace,
        preset=preset,
        memory_gb=memory_gb,
        for_model=for_model,
        overrides=Overrides.parse(spacing, patch_size, batch_size),
        configurations=config,
        fix_geometry=fix_geometry,
        workers=workers,
        quiet=quiet,
    )
    typer.echo(plan_summary(fingerprint, decided, made.dataset().description))
    typer.echo(f"Workspace: {made.folder}")


@verb
def train(
    dataset: Annotated[str, typer.Argument(help="Name of a planned data set, or its folder.")],
    workspace: Workspace = WORKSPACE_ROOT,
    config: Annotated[
        str | None,
        typer.Option("--config", help="Configuration of the plan. [default: 3d_fullres, 2d for 2-D images]"),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            help="umamba_enc, umamba_bot, umamba_enc_released, umamba_bot_released, nnunet, nnunet_resenc; or of MONAI "
            "segresnet, unetr, swin_unetr."
        ),
    ] = "umamba_enc",
    fold: Annotated[str, typer.Option(help="Cross-validation fold 0 to 4, or all.")] = "0",
    epochs: Annotated[int, typer.Option(min=1)] = 1000,
    iterations: Annotated[int, typer.Option(min=1, help="Training batches per epoch.")] = 250,
    validation_iterations: Annotated[
        int | None,
        typer.Option(min=1, help="Validation batches per epoch. [default: a fifth of --iterations]"),
    ] = None,
    ssm: Annotated[bool, typer.Option("--ssm/--no-ssm", help="Build the Mamba layers, or take them out.")] = True,
    ssm_residual: Annotated[
        bool, typer.Option("--ssm-residual", help="Connection around each Mamba layer, which starts as the identity.")
    ] = False,
    optimizer: Annotated[str, typer.Option(help="sgd or adamw.")] = "sgd",
    lr: Annotated[
        float | None,
        typer.Option(help="Initial learning rate. [default: 0.01 for sgd, 0.001 for adamw]"),
    ] = None,
    ssm_optimizer: Annotated[
        str | None,
        typer.Option(help="Optimiser of the Mamba layers alone: sgd or adamw. [default: as all the rest]"),
    ] = None,
    ssm_lr: Annotated[
        float | None,
        typer.Option(help="Initial learning rate of the Mamba layers alone."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights, batches and augmentation.")] = 0,
    tag: Annotated[
        str | None,
        typer.Option(help="Suffix of the model folder, to keep experiments apart."),
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Discard an earlier run of this fold.")] = False,
    validate: Annotated[
        bool, typer.Option("--validate/--no-validate", help="Segment and score the held-out cases at the end.")
    ] = True,
    device: Device = "auto",
    precision: Precision = "auto",
    workers: Workers = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train a network on one fold; an interrupted run continues when the same command is given again."""
    from umseg.evaluation import format_table
    from umseg.training import TrainingConfig
    from umseg.training import train as run
    from umseg.training.config import default_loader_workers
    from umseg.workflows.validation import validate_fold
    from umseg.workflows.workspace import Workspace as Planned

    planned = Planned.of(dataset, workspace)
    choices = {
        "configuration": config or planned.plan().default_configuration,
        "model": model,
        "options": {"ssm": ssm, "ssm_residual": ssm_residual},
        "fold": fold if fold == "all" else _whole_number(fold, "--fold"),
        "epochs": epochs,
        "iterations": iterations,
        "validation_iterations": validation_iterations,
        "optimizer": optimizer,
        "lr": lr,
        "ssm_optimizer": ssm_optimizer,
        "ssm_lr": ssm_lr,
        "seed": seed,
        "precision": precision,
    }
    settings = TrainingConfig.from_options(choices)
    workers = default_loader_workers() if workers is None else workers
    folder = run(planned.folder, settings, device=device, workers=workers, tag=tag, restart=restart, quiet=quiet)
    if validate and fold != "all":
        metrics = validate_fold(planned, folder, device=device, precision=precision, workers=workers, quiet=quiet)
        typer.echo(format_table(metrics))
    typer.echo(f"Model: {folder.parent}")


@verb
def predict(
    model: Annotated[Path, typer.Option("--model", help="Model folder: .../models/<model>__<configuration>.")],
    inputs: Annotated[Path, typer.Option("--input", help="Image file, or folder of CASE_0000.ext files.")],
    output: Annotated[Path, typer.Option("--output", help="Folder for the label maps.")],
    folds: Annotated[
        str | None,
        typer.Option(help="Folds to average, e.g. 0,1,2 or all. [default: every trained fold]"),
    ] = None,
    weights: Annotated[str, typer.Option(help="final, or best (of the validation Dice).")] = "final",
    mirror: Annotated[bool, typer.Option("--mirror", help="Average over mirrored images: slower.")] = False,
    step: Annotated[float, typer.Option(help="Distance of neighbouring windows as a share of the patch.")] = 0.5,
    device: Device = "auto",
    precision: Precision = "auto",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Segment images; label maps have the geometry of the input."""
    from umseg.inference import Predictor

    chosen = [fold.strip() for fold in folds.split(",")] if folds else None
    predictor = Predictor(
        model,
        device,
        folds=chosen,
        weights=weights,
        mirror=mirror,
        step=step,
        precision=precision,
    )
    start = time.perf_counter()
    written = predictor.predict_files(inputs, output, quiet=quiet)
    typer.echo(f"{len(written)} label maps in {output} ({time.perf_counter() - start:.1f} s)")


@verb
def evaluate(
    predictions: Annotated[Path, typer.Option("--predictions", help="Folder of predicted label maps.")],
    reference: Annotated[Path, typer.Option("--reference", help="Folder of reference label maps of the same names.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", help="Folder for metrics.json and metrics.csv. [default: the predictions' folder]"),
    ] = None,
    tolerance: Annotated[float, typer.Option(help="Tolerance of the NSD in mm (pixels for PNG and TIFF).")] = 1.0,
    cases: Annotated[
        str | None,
        typer.Option(help="Cases to score, e.g. case_1,case_7. [default: all; none may be missing]"),
    ] = None,
    workers: Workers = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Score label maps against references: DSC and NSD per case and class."""
    from umseg.common.parallel import default_workers
    from umseg.evaluation import evaluate_folder, format_table, write_metrics

    workers = default_workers() if workers is None else workers
    chosen = [case.strip() for case in cases.split(",")] if cases else None
    metrics = evaluate_folder(predictions, reference, tolerance=tolerance, cases=chosen, workers=workers, quiet=quiet)
    files = write_metrics(metrics, output or predictions)
    typer.echo(format_table(metrics))
    typer.echo("Written: " + ", ".join(str(file) for file in files))


@verb
def demo(
    output: Annotated[Path, typer.Option("--output", help="Folder for data, workspace and pictures.")] = Path(
        "umseg-demo"
    ),
    workers: Workers = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Run the whole job on real MRI that a PyPI package carries: grey and white matter of the ICBM 152 template."""
    from umseg.evaluation import format_table
    from umseg.training.config import default_loader_workers
    from umseg.workflows.demo import run_demo

    workers = default_loader_workers() if workers is None else workers
    result = run_demo(output, workers=workers, quiet=quiet)
    typer.echo(format_table(result.metrics))
    typer.echo("Pictures: " + ", ".join(str(picture) for picture in result.pictures))


@functools.partial(verb, group=convert)
def msd(
    source: Annotated[Path, typer.Argument(help="Unpacked task: dataset.json, imagesTr/, labelsTr/, imagesTs/.")],
    destination: Annotated[Path, typer.Argument(help="Data set folder to be made, e.g. Dataset004_Hippocampus.")],
    workers: Workers = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Convert a task of the Medical Segmentation Decathlon."""
    from umseg.common.parallel import default_workers
    from umseg.dataset.convert.msd import convert_msd

    workers = default_workers() if workers is None else workers
    _say_converted(convert_msd(source, destination, workers=workers, quiet=quiet))


@functools.partial(verb, group=convert)
def instances(
    source: Annotated[Path, typer.Argument(help="Folder: images/, instances/ and, if there is one, manifest.csv.")],
    destination: Annotated[Path, typer.Argument(help="Data set folder to be made, e.g. Dataset703_Nuclei.")],
    object_name: Annotated[str, typer.Option(help="What the instances are, e.g. nucleus.")] = "object",
    case_column: Annotated[
        str | None,
        typer.Option(help="Manifest: case or file name. [default: case, id, image, file or name]"),
    ] = None,
    split_column: Annotated[
        str | None,
        typer.Option(help="Manifest: train for the cases to learn from. [default: split]"),
    ] = None,
    group_column: Annotated[
        str | None,
        typer.Option(help="Manifest: what cases have in common that belong together. [default: group or field_group]"),
    ] = None,
    workers: Workers = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Convert pictures with instance maps, in which every object has a number of its own."""
    from umseg.common.parallel import default_workers
    from umseg.dataset.convert.instances import convert_instances
    from umseg.dataset.convert.manifest import Columns

    workers = default_workers() if workers is None else workers
    columns = Columns(case_column, split_column, group_column)
    made = convert_instances(
        source, destination, object_name=object_name, columns=columns, workers=workers, quiet=quiet
    )
    _say_converted(made)


def _say_converted(folder: Path) -> None:
    from umseg.dataset.convert.target import summary

    typer.echo(f"{summary(folder)}. Next: umseg plan {shlex.quote(str(folder))}")


def _whole_number(text: str, option: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UserError(f"{option} is not a whole number.", found=text, expected="0 to 4, or all") from None


def main() -> None:
    """Entry point of the ``umseg`` command."""
    app()
