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
    Config,
    Debug,
    Device,
    LoaderWorkers,
    Planned,
    Precision,
    Quiet,
    Workers,
    Workspace,
    command_of,
    new_group,
)
from umseg.cli_train import train

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
    like: Annotated[
        Path | None,
        typer.Option(help="Model folder whose plan to take over, so that `umseg train --init-from` fits."),
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
    splits: Annotated[
        Path | None,
        typer.Option(help="JSON file of the folds, ours or nnU-Net's splits_final.json. [default: five random folds]"),
    ] = None,
    fix_geometry: Annotated[
        bool, typer.Option("--fix-geometry", help="Use copies of label maps under the header of their image.")
    ] = False,
    store_dtype: Annotated[
        str, typer.Option(help="How preprocessed images are stored: float32, or float16 in half the space.")
    ] = "float32",
    workers: Workers = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Check a data set, measure it, decide how to train on it, and preprocess it."""
    from umseg.common.parallel import default_workers
    from umseg.planning import Overrides
    from umseg.preprocess.store import as_store_dtype
    from umseg.workflows.summary import plan_summary
    from umseg.workflows.workspace import plan_dataset

    workers = default_workers() if workers is None else workers
    made, fingerprint, decided = plan_dataset(
        dataset,
        workspace,
        preset=preset,
        memory_gb=memory_gb,
        for_model=for_model,
        like=like,
        overrides=Overrides.parse(spacing, patch_size, batch_size),
        configurations=config,
        splits=splits,
        fix_geometry=fix_geometry,
        store_dtype=as_store_dtype(store_dtype),
        workers=workers,
        quiet=quiet,
    )
    typer.echo(plan_summary(fingerprint, decided, made.dataset().description))
    typer.echo(f"Workspace: {made.folder}")


verb(train)


@verb
def predict(
    model: Annotated[Path, typer.Option("--model", help="Model folder: .../models/<model>__<configuration>.")],
    inputs: Annotated[Path, typer.Option("--input", help="Image, or folder of CASE_0000.ext files or DICOM folders.")],
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
    tolerance: Annotated[
        float | None, typer.Option(help="Tolerance of the NSD in mm (pixels where files do not say mm). [default: 1]")
    ] = None,
    instances: Annotated[
        bool,
        typer.Option("--instances", help="Label maps number objects. [default: as dataset.json beside them says]"),
    ] = False,
    iou: Annotated[
        float | None,
        typer.Option("--iou", help="Objects match from this intersection over union on. [default: 0.5]"),
    ] = None,
    border: Annotated[
        int | None,
        typer.Option(min=0, help="Leave out objects within so many voxels of the edge; the paper: 2. [default: 0]"),
    ] = None,
    cases: Annotated[
        str | None,
        typer.Option(help="Cases to score, e.g. case_1,case_7. [default: all; none may be missing]"),
    ] = None,
    workers: Workers = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Score label maps against references: DSC and NSD per case and class, or the F1 of objects."""
    from umseg.common.parallel import default_workers
    from umseg.evaluation import evaluate_folder, format_table, write_metrics

    workers = default_workers() if workers is None else workers
    chosen = [case.strip() for case in cases.split(",")] if cases else None
    metrics = evaluate_folder(
        predictions,
        reference,
        tolerance=tolerance,
        instances=instances,
        threshold=iou,
        border=border,
        cases=chosen,
        workers=workers,
        quiet=quiet,
    )
    files = write_metrics(metrics, output or predictions)
    typer.echo(format_table(metrics))
    typer.echo("Written: " + ", ".join(str(file) for file in files))


@verb
def models(
    dataset: Planned,
    workspace: Workspace = WORKSPACE_ROOT,
    config: Config = None,
    draw: Annotated[
        Path | None,
        typer.Option("--draw", help="Folder for a picture of every model: its stages, blocks and Mamba layers (SVG)."),
    ] = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """List the models with what they would be on a plan: parameters, multiply-accumulates, expected memory."""
    from umseg.workflows.models import describe_models, format_models
    from umseg.workflows.workspace import Workspace as PlannedWorkspace

    planned = PlannedWorkspace.of(dataset, workspace)
    plan = planned.plan()
    configuration = plan.configuration(config or plan.default_configuration, planned.folder / "plan.json")
    description = planned.dataset().description
    typer.echo(format_models(describe_models(configuration, description), configuration.batch_size))
    if draw is not None:
        from umseg.workflows.drawing import draw_models

        drawn = draw_models(draw, configuration, description)
        typer.echo("Pictures: " + ", ".join(str(file) for file in drawn))


@verb
def demo(
    output: Annotated[Path, typer.Option("--output", help="Folder for data, workspace and pictures.")] = Path(
        "umseg-demo"
    ),
    workers: LoaderWorkers = None,
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
def inspect(
    dataset: Planned,
    workspace: Workspace = WORKSPACE_ROOT,
    config: Config = None,
    patches: Annotated[int, typer.Option(min=1, help="How many patches.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="The first batches of `umseg train --fold all` with this seed.")] = 0,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Draw training patches as the network sees them, before and after augmentation, with their labels."""
    from umseg.workflows.inspect import inspect_training
    from umseg.workflows.workspace import Workspace as PlannedWorkspace

    path = inspect_training(PlannedWorkspace.of(dataset, workspace), config, patches=patches, seed=seed)
    typer.echo(f"Picture: {path}")


@verb
def status(
    dataset: Planned,
    workspace: Workspace = WORKSPACE_ROOT,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """List the runs of a data set: model, fold, epoch, Dice, when the last epoch ended, and whether it is complete."""
    from umseg.workflows.status import find_runs, format_runs
    from umseg.workflows.workspace import Workspace as PlannedWorkspace

    typer.echo(format_runs(find_runs(PlannedWorkspace.of(dataset, workspace))))


@verb
def doctor(quiet: Quiet = False, debug: Debug = False) -> None:
    """Say what this machine has: versions, devices, and for each device the precision and the scan that it will use."""
    from umseg.workflows.doctor import examine

    typer.echo(examine())


def main() -> None:
    """Entry point of the ``umseg`` command."""
    app()
