"""``umseg predict``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from umseg.cli.options import (
    Debug,
    Device,
    Precision,
    Quiet,
)


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
