"""``umseg predict``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from umseg.cli.console import say
from umseg.cli.next_step import next_step
from umseg.cli.options import (
    Debug,
    Device,
    Precision,
    Quiet,
)
from umseg.common.text import counted


def predict(
    model: Annotated[
        Path,
        typer.Option(
            "--model",
            help="Model folder: .../models/<model>__<configuration>; bundle: FILE.umseg; or hf://organisation/name.",
        ),
    ],
    inputs: Annotated[
        list[Path],
        typer.Option(
            "--input",
            help="Image, folder of CASE_0000.ext files or of DICOM folders, or pattern in quotes; repeat for several.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", help="Folder for the label maps.")],
    more: Annotated[list[Path] | None, typer.Argument(help="Further inputs.", show_default=False)] = None,
    folds: Annotated[
        str | None,
        typer.Option(
            help="Folds whose predictions are averaged, e.g. 0,1,2; 'all' is the one model of `umseg train --fold "
            "all`. [default: every trained fold]"
        ),
    ] = None,
    weights: Annotated[
        str,
        typer.Option(help="Weights of the last epoch (final), or of the epoch with the best validation Dice (best)."),
    ] = "final",
    mirror: Annotated[
        bool,
        typer.Option("--mirror", help="Average over mirrored images, if the model was trained with them; slower."),
    ] = False,
    step: Annotated[
        float, typer.Option(help="Distance of neighbouring windows as a fraction of the patch, from 0.05 to 1.")
    ] = 0.5,
    postprocessing: Annotated[
        bool,
        typer.Option(
            "--postprocessing/--no-postprocessing",
            help="Remove small objects and fill holes as the validation chose it, in tasks of objects.",
        ),
    ] = True,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Keep label maps that the same model and options made of the same images."),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files of the output folder that umseg did not write.")
    ] = False,
    device: Device = "auto",
    precision: Precision = "auto",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Segment images; the label maps have the geometry of the input.

    The exit code is 1 if some cases could not be segmented, and 2 if none could.
    """
    from umseg.common.hardware_names import check_device_name, check_precision_name
    from umseg.inference.bundle.location import local_model
    from umseg.inference.weights import find_weights
    from umseg.workspace import ModelFolder

    # Before torch is imported, which takes seconds.
    check_device_name(device)
    check_precision_name(precision)
    chosen = [fold.strip() for fold in folds.split(",")] if folds else None
    model = local_model(model, quiet=quiet)
    ModelFolder(model).require()
    if ModelFolder(model).card_file.exists():
        find_weights(model, chosen, weights)
    from umseg.inference import Predictor
    from umseg.inference.pipeline.failures import FailedCasesError

    predictor = Predictor(
        model,
        device,
        folds=chosen,
        weights=weights,
        mirror=mirror,
        step=step,
        precision=precision,
        postprocessing=postprocessing,
    )
    start = time.perf_counter()
    try:
        there = predictor.predict_files(
            [*inputs, *(more or [])], output, quiet=quiet, resume=resume, overwrite=overwrite
        )
    except FailedCasesError as error:
        if not error.written:
            # Nothing was done, as after any other error.
            raise
        say(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    maps = counted(len(there), "label map")
    took = f"{time.perf_counter() - start:.1f} s"
    say(f"{output} has {maps}, after {took}." if resume else f"Wrote {maps} to {output} in {took}.")
    say(next_step("evaluate", "--predictions", output, "--reference", "FOLDER"))
