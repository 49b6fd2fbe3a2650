"""The command line: one function per verb. Heavy imports stand inside, so that ``umseg --help`` answers at once."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from umseg import __version__
from umseg.cli_foreign import convert, imports
from umseg.cli_options import (
    WORKSPACE_ROOT,
    Debug,
    Device,
    Precision,
    Quiet,
    Workers,
    Workspace,
    command_of,
    new_group,
)
from umseg.common.errors import UserError

app = new_group(
    "Self-configuring biomedical image segmentation: plan, train, predict, evaluate.",
    name="umseg",
    add_completion=False,
)
app.add_typer(convert, name="convert")
app.add_typer(imports, name="import")
verb = command_of(app)


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
def models(
    dataset: Annotated[str, typer.Argument(help="Name of a planned data set, or its folder.")],
    workspace: Workspace = WORKSPACE_ROOT,
    config: Annotated[
        str | None,
        typer.Option("--config", help="Configuration of the plan. [default: 3d_fullres, 2d for 2-D images]"),
    ] = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """List the models with what they would be on a plan: parameters, multiply-accumulates, expected memory."""
    from umseg.workflows.models import describe_models, format_models
    from umseg.workflows.workspace import Workspace as Planned

    planned = Planned.of(dataset, workspace)
    plan = planned.plan()
    configuration = plan.configuration(config or plan.default_configuration, planned.folder / "plan.json")
    facts = describe_models(configuration, planned.dataset().description)
    typer.echo(format_models(facts, configuration.batch_size))


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


@verb
def doctor(quiet: Quiet = False, debug: Debug = False) -> None:
    """Say what this machine has: versions, devices, and for each device the precision and the scan that it will use."""
    from umseg.workflows.doctor import examine

    typer.echo(examine())


def _whole_number(text: str, option: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UserError(f"{option} is not a whole number.", found=text, expected="0 to 4, or all") from None


def main() -> None:
    """Entry point of the ``umseg`` command."""
    app()
