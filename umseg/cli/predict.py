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
    inputs: Annotated[
        Path, typer.Option("--input", help="Image, or folder of CASE_0000.ext files or of DICOM folders.")
    ],
    output: Annotated[Path, typer.Option("--output", help="Folder for the label maps.")],
    folds: Annotated[
        str | None,
        typer.Option(
            help="Folds whose predictions are averaged, e.g. 0,1,2; 'all' is the model trained with --fold all. "
            "[default: every trained fold]"
        ),
    ] = None,
    weights: Annotated[
        str,
        typer.Option(help="Weights of the last epoch (final), or of the epoch with the best validation Dice (best)."),
    ] = "final",
    mirror: Annotated[bool, typer.Option("--mirror", help="Average over mirrored images, which is slower.")] = False,
    step: Annotated[float, typer.Option(help="Distance of neighbouring windows as a fraction of the patch.")] = 0.5,
    device: Device = "auto",
    precision: Precision = "auto",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Segment images; the label maps have the geometry of the input."""
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
    maps = "1 label map" if len(written) == 1 else f"{len(written)} label maps"
    typer.echo(f"Wrote {maps} to {output} in {time.perf_counter() - start:.1f} s.")
