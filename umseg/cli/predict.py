"""``umseg predict``."""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from umseg.cli.console import say
from umseg.cli.next_step import next_step
from umseg.cli.options import Debug, Device, Quiet
from umseg.cli.predict_options import (
    Folds,
    Inputs,
    Mirror,
    Model,
    MoreInputs,
    Output,
    Overwrite,
    Part,
    Postprocessing,
    Precision,
    Recursive,
    Resume,
    Step,
    Weights,
    parse_part,
)
from umseg.common.text import counted

if TYPE_CHECKING:
    from umseg.inference.pipeline.files import FileResult


def predict(
    model: Model,
    inputs: Inputs,
    output: Output,
    more: MoreInputs = None,
    recursive: Recursive = False,
    folds: Folds = None,
    weights: Weights = "final",
    mirror: Mirror = False,
    step: Step = 0.5,
    postprocessing: Postprocessing = True,
    resume: Resume = True,
    overwrite: Overwrite = False,
    part: Part = None,
    device: Device = "auto",
    precision: Precision = "auto",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Segment images; the label maps have the geometry of the input.

    The same command again writes only what is missing. Several processes may write to one folder, and share its cases.
    Cases that cannot be segmented are listed in failures.json of the output folder; the exit code is then 1, or 2 if no
    case could be segmented.
    """
    from umseg.common.hardware_names import check_device_name, check_precision_name
    from umseg.inference.bundle.location import local_model
    from umseg.inference.step import check_step
    from umseg.inference.weights import find_weights
    from umseg.workspace import ModelFolder

    # Before torch is imported, which takes seconds.
    check_device_name(device)
    check_precision_name(precision)
    check_step(step)
    share = parse_part(part)
    named = [*inputs, *(more or [])]
    chosen = [fold.strip() for fold in folds.split(",")] if folds else None
    model = local_model(model, quiet=quiet)
    ModelFolder(model).require()
    if ModelFolder(model).card_file.exists():
        find_weights(model, chosen, weights)
    _require_inputs(named)
    from umseg.inference import Predictor
    from umseg.inference.pipeline.failures import FailedCasesError
    from umseg.inference.pipeline.files import FileRequest

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
    request = FileRequest(
        inputs=tuple(named),
        output=output,
        products=predictor.products(),
        quiet=quiet,
        resume=resume,
        overwrite=overwrite,
        recursive=recursive,
        part=share,
    )
    start = time.perf_counter()
    try:
        result = predictor.segment_files(request)
    except FailedCasesError as error:
        if not error.written:
            # Nothing was done, as after any other error.
            raise
        say(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    say(_told(result, time.perf_counter() - start))
    say(next_step("evaluate", "--predictions", output, "--reference", "FOLDER"))


def _require_inputs(named: Sequence[Path]) -> None:
    """Refuse an input that does not exist; a pattern is looked at later."""
    from umseg.dataset.inputs import missing_input

    for path in named:
        if not glob.has_magic(str(path)) and not os.path.lexists(path):
            raise missing_input(path.absolute())


def _told(result: FileResult, seconds: float) -> str:
    """What was written, kept and left to others, in one line."""
    there = [
        f"{number} {what}"
        for number, what in ((result.kept, "kept"), (result.elsewhere, "written by other processes"))
        if number
    ]
    wrote = f"Wrote {counted(result.written, 'label map')} to {result.output} in {seconds:.1f} s"
    return f"{wrote}; {' and '.join(there)}." if there else f"{wrote}."
