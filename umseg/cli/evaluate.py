"""``umseg evaluate``."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any

import typer

from umseg.cli.options import (
    Debug,
    Quiet,
    Workers,
    worker_count,
)


def evaluate(
    predictions: Annotated[Path, typer.Option("--predictions", help="Folder of predicted label maps.")],
    reference: Annotated[Path, typer.Option("--reference", help="Folder of reference label maps of the same names.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", help="Folder for metrics.json and metrics.csv. [default: the predictions' folder]"),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(help="Tolerance of the NSD in mm (pixels where the files do not say mm). [default: 1]"),
    ] = None,
    instances: Annotated[
        bool,
        typer.Option("--instances", help="Label maps number objects. [default: as in dataset.json beside them]"),
    ] = False,
    iou: Annotated[
        float | None,
        typer.Option("--iou", help="Smallest intersection over union of two objects that match. [default: 0.5]"),
    ] = None,
    border: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=2**20,
            help="Leave out objects within this many voxels of the image's edge (the paper: 2). [default: 0]",
        ),
    ] = None,
    cases: Annotated[
        str | None,
        typer.Option(help="Cases to score, e.g. case_1,case_7. [default: all; each must be in both folders]"),
    ] = None,
    workers: Workers = None,
    quiet: Quiet = False,
    debug: Debug = False,
    **choices: Any,
) -> None:
    """Score label maps against references: metrics per case and class, or the F1 of objects."""
    from umseg.evaluation import evaluate_folder, format_table, write_metrics
    from umseg.evaluation.metrics.registry import choose_metrics

    chosen = _names(choices["metrics"])
    if chosen is not None:
        choose_metrics(chosen)
    scores = evaluate_folder(
        predictions,
        reference,
        metrics=chosen,
        tolerance=tolerance,
        instances=instances,
        threshold=iou,
        border=border,
        cases=_names(cases),
        workers=worker_count(workers),
        quiet=quiet,
    )
    files = write_metrics(scores, output or predictions)
    typer.echo(format_table(scores))
    typer.echo("Wrote " + " and ".join(str(file) for file in files) + ".")


def metric_parameters() -> tuple[inspect.Parameter, ...]:
    """The option that lists the metrics; the table of them needs numpy, which a list of all commands does not load."""
    from umseg.evaluation.metrics.registry import DEFAULT_METRICS, METRICS

    text = f"Metrics, separated by commas: {', '.join(METRICS)}. [default: {','.join(DEFAULT_METRICS)}]"
    annotation = Annotated[str | None, typer.Option(help=text)]
    return (inspect.Parameter("metrics", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation),)


def _names(text: str | None) -> list[str] | None:
    """The names of a list that is separated by commas; None where the option is not given."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]
