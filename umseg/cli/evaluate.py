"""``umseg evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from umseg.cli.options import (
    Debug,
    Quiet,
    Workers,
)


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
