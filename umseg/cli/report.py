"""``umseg report``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from umseg.cli.support.console import say
from umseg.cli.support.options import Debug, Quiet, Workers, worker_count


def report(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN|METRICS...",
            help="Trained folds or model folders, files metrics.json, folders of label maps; several are shown side by "
            "side. With --ratings: the files of the reviewers.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="The page. With --ratings: a table, .csv. [default: report.html; no table]"
        ),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option("--reference", help="Folder of reference label maps. [default: those of the workspace]"),
    ] = None,
    images: Annotated[
        Path | None, typer.Option("--images", help="Folder of the images. [default: those of the workspace]")
    ] = None,
    predictions: Annotated[
        Path | None, typer.Option("--predictions", help="Folder of the label maps. [default: that of the scores]")
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option("--model", help="Model folder, or fold, that made the label maps; for training and methods."),
    ] = None,
    title: Annotated[str | None, typer.Option("--title", help="Heading. [default: data set and model]")] = None,
    pictures: Annotated[
        int, typer.Option("--pictures", min=0, max=100_000, help="Cases with pictures, the worst first.")
    ] = 200,
    volumes: Annotated[
        int, typer.Option("--volumes", min=0, max=1000, help="Cases whose volumes can be turned and leafed through.")
    ] = 3,
    size_mb: Annotated[
        float, typer.Option("--size-mb", min=0.5, max=1000, help="Size in MB that the page stays below.")
    ] = 8.0,
    ratings: Annotated[
        bool,
        typer.Option("--ratings", help="Merge files ratings.json that reviewers saved, and print how far they agree."),
    ] = False,
    workers: Workers = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write a page with scores, charts, pictures, the training and its methods: one file, which opens anywhere."""
    from umseg.workflows.report import PageOptions, make_report, merge_ratings
    from umseg.workflows.report_sources import Beside

    if ratings:
        say(merge_ratings(inputs, output))
        if output is not None:
            say(f"Wrote {output}.")
        return
    command = shlex.join(["umseg", "report", *map(str, inputs)])
    page = make_report(
        inputs,
        output or Path("report.html"),
        beside=Beside(reference, images, predictions, model),
        options=PageOptions(title, pictures, volumes, size_mb, command),
        workers=worker_count(workers),
        quiet=quiet,
    )
    say(f"Page: {page}")
