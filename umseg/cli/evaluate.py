"""``umseg evaluate``."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from umseg.cli.support.console import say
from umseg.cli.support.next_step import next_step
from umseg.cli.support.options import (
    Debug,
    Quiet,
    Workers,
    worker_count,
)
from umseg.common.errors import UserError
from umseg.workspace import FoldFolder

if TYPE_CHECKING:
    from umseg.evaluation.alignment import Resample
    from umseg.evaluation.pairs import Missing
    from umseg.evaluation.records import ProtocolName


def evaluate(
    predictions: Annotated[Path, typer.Option("--predictions", help="Folder of predicted label maps.")],
    reference: Annotated[Path, typer.Option("--reference", help="Folder of reference label maps of the same names.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", help="Folder for metrics.json and metrics.csv. [default: the predictions' folder]"),
    ] = None,
    tolerance: Annotated[
        str | None,
        typer.Option(
            help="Tolerance of the NSD in mm (pixels where the files do not say mm): one number, one per class as in "
            "1,2.5, or by name as in liver=2,cyst=1. [default: 1]"
        ),
    ] = None,
    instances: Annotated[
        bool,
        typer.Option("--instances", help="Label maps number objects. [default: as in dataset.json beside them]"),
    ] = False,
    iou: Annotated[
        str | None,
        typer.Option(
            "--iou",
            help="Smallest intersection over union of two objects that match; or several, as in 0.5,0.75, the first "
            "of which is that of F1. [default: 0.5]",
        ),
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
    missing: Annotated[
        str,
        typer.Option(
            metavar="error|zero|skip",
            help="What becomes of references without a prediction: an error; zero, they are scored as if nothing had "
            "been predicted; skip, they are left out. With zero and skip predictions without a reference are left out.",
        ),
    ] = "error",
    resample: Annotated[
        str | None,
        typer.Option(
            metavar="nearest",
            help="Bring predictions on another grid to that of their reference: each voxel gets the label of the "
            "nearest one. [default: they are refused]",
        ),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            metavar="abdomen|endoscopy|microscopy|paper",
            help="Score as the paper's tables: abdomen, endoscopy or microscopy, as published and corrected; paper: a "
            "class that is in neither label map scores 1.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a metrics.json or metrics.csv that umseg did not write.")
    ] = False,
    workers: Workers = None,
    quiet: Quiet = False,
    debug: Debug = False,
    **choices: Any,
) -> None:
    """Score label maps against references: metrics per case and class, or the F1 of objects."""
    from umseg.evaluation import InstanceMetrics, evaluate_folder, format_table, write_metrics
    from umseg.evaluation.metrics.registry import METRICS, choose_metrics
    from umseg.evaluation.report import refuse_output

    folder = output or predictions
    _refuse_validation(folder)
    if output is not None or predictions.is_dir():
        refuse_output(folder, overwrite)
    chosen = _names(choices["metrics"])
    if chosen is not None:
        choose_metrics(chosen)
    scores = evaluate_folder(
        predictions,
        reference,
        metrics=chosen,
        tolerance=None if tolerance is None else _tolerance(tolerance),
        instances=instances,
        threshold=None if iou is None else _thresholds(iou),
        border=border,
        cases=_names(cases),
        missing=cast("Missing", missing),
        resample=cast("Resample | None", resample),
        protocol=cast("ProtocolName | None", protocol),
        workers=worker_count(workers),
        quiet=quiet,
    )
    files = write_metrics(scores, folder)
    say(format_table(scores))
    say("Wrote " + " and ".join(str(file) for file in files) + ".")
    if chosen is None and protocol is None and not isinstance(scores, InstanceMetrics):
        more = ["--metrics", ",".join(METRICS)]
        say(next_step("evaluate", "--predictions", predictions, "--reference", reference, more))


def metric_parameters() -> tuple[inspect.Parameter, ...]:
    """The option that lists the metrics; the table of them needs numpy, which a list of all commands does not load."""
    from umseg.evaluation.metrics.registry import DEFAULT_METRICS, METRICS

    text = f"Metrics, separated by commas: {', '.join(METRICS)}. [default: {','.join(DEFAULT_METRICS)}]"
    annotation = Annotated[str | None, typer.Option(help=text)]
    return (inspect.Parameter("metrics", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation),)


def _names(text: str | None) -> list[str] | None:
    """The names of a list that is separated by commas; None where the option is not given."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def _thresholds(text: str) -> list[float]:
    """The numbers of a list that is separated by commas.

    Raises:
        UserError: One is no number.
    """
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UserError(
            "--iou is not a list of numbers.",
            found=text,
            expected="one number, or several separated by commas, as in 0.5,0.75,0.9",
            remedy="Correct --iou.",
        ) from None


def _tolerance(text: str) -> float | list[float] | dict[str, float]:
    """One number, numbers in the order of the classes, or numbers by class name.

    Raises:
        UserError: The text is none of these.
    """
    parts = [part.strip() for part in text.split(",")]
    named = [part.rpartition("=") for part in parts]
    try:
        if all(sign for _, sign, _ in named):
            return {name.strip(): float(value) for name, _, value in named}
        values = [float(part) for part in parts]
        return values[0] if len(values) == 1 else values
    except ValueError as error:
        raise UserError(
            "The tolerances of the NSD are not valid.",
            found=text,
            expected="a number, one number per class as in 1,2.5, or numbers by name as in liver=2,cyst=1",
            remedy="Correct --tolerance.",
        ) from error


def _refuse_validation(folder: Path) -> None:
    """Keep the scores of a fold, which its training wrote, from being replaced."""
    fold = FoldFolder(folder.resolve().parent)
    if fold.models.card_file.exists() and folder.resolve() == fold.validation:
        raise UserError(
            "The output folder holds the scores of a fold's validation, which must stay as training wrote them.",
            file=folder,
            remedy="Name another folder with --output.",
        )
