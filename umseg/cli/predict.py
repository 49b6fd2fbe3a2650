"""``umseg predict``."""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from umseg.cli.predict_options import (
    Classes,
    Folds,
    Format,
    Inputs,
    Json,
    Memory,
    Mirror,
    Models,
    MoreInputs,
    Output,
    Overwrite,
    Part,
    Postprocessing,
    Precision,
    Preview,
    Probabilities,
    ProbabilityGrid,
    Recursive,
    Resume,
    Runtime,
    SkipEmpty,
    Statistics,
    Step,
    Weights,
    parse_part,
)
from umseg.cli.support.console import say
from umseg.cli.support.next_step import next_step
from umseg.cli.support.options import Debug, Device, Quiet
from umseg.common.text import counted

if TYPE_CHECKING:
    from umseg.inference.pipeline.files import CaseResult, FileResult
from umseg.common.errors import UserError


def predict(
    model: Models,
    inputs: Inputs,
    output: Output,
    more: MoreInputs = None,
    recursive: Recursive = False,
    folds: Folds = None,
    weights: Weights = "final",
    mirror: Mirror = False,
    step: Step = 0.5,
    skip_empty: SkipEmpty = False,
    postprocessing: Postprocessing = True,
    format_: Format = None,
    classes: Classes = None,
    statistics: Statistics = False,
    preview: Preview = False,
    probabilities: Probabilities = None,
    probability_grid: ProbabilityGrid = None,
    json: Json = False,
    resume: Resume = True,
    overwrite: Overwrite = False,
    part: Part = None,
    device: Device = "auto",
    precision: Precision = "auto",
    runtime: Runtime = "auto",
    memory: Memory = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Segment images; the label maps have the geometry of the input.

    The same command again writes only what is missing. Several processes may write to one folder, and share its cases.
    Cases that cannot be segmented are listed in failures.json of the output folder; the exit code is then 1, or 2 if no
    case could be segmented.
    """
    from umseg.common.hardware_names import check_device_name, check_precision_name
    from umseg.inference.outputs.formats import Formats, parse_formats
    from umseg.inference.outputs.probability_choice import choose_probabilities
    from umseg.inference.step import check_step

    start = time.perf_counter()
    # Before torch is imported, which takes seconds.
    check_device_name(device)
    check_precision_name(precision)
    check_step(step)
    share = parse_part(part)
    files = None if probabilities is None else choose_probabilities(probabilities, probability_grid or "image")
    if probabilities is None and probability_grid is not None:
        raise UserError(
            "--probability-grid says where probabilities are, but none are written.",
            found=f"--probability-grid {probability_grid}",
            remedy="Name a kind of file with --probabilities, or leave out --probability-grid.",
        )
    formats = parse_formats(format_) if format_ is not None else Formats()
    named = [*inputs, *(more or [])]
    chosen = [fold.strip() for fold in folds.split(",")] if folds else None
    models = [_require_model(one, chosen, weights, runtime, quiet) for one in model]
    _require_inputs(named)
    from umseg.inference import Predictor
    from umseg.inference.pipeline.failures import FailedCasesError
    from umseg.inference.pipeline.files import FileRequest
    from umseg.workflows.predict import Wanted, predict_files, summarise_run

    predictor = Predictor(
        models,
        device,
        folds=chosen,
        weights=weights,
        mirror=mirror,
        step=step,
        precision=precision,
        postprocessing=postprocessing,
        most_bytes=None if memory is None else round(memory * 1e9),
        skip_empty=skip_empty,
        confidence=statistics,
        runtime=runtime,
    )
    wanted = Wanted(formats, classes, statistics, preview, files)
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
    settings = {
        "folds": None if chosen is None else tuple(chosen), "weights": weights, "mirror": mirror, "step": step,
        "skip_empty": skip_empty, "postprocessing": postprocessing, "format": format_, "classes": classes,
    }  # fmt: skip

    def tell(cases: Sequence[CaseResult]) -> None:
        names = [str(one) for one in model]
        summary = summarise_run(predictor, request, wanted, cases, models=names, settings=settings, began=start)
        say(summary.to_json().rstrip())

    try:
        result = predict_files(predictor, request, wanted)
    except FailedCasesError as error:
        if json and error.result is not None:
            tell(error.result.cases)
        if not error.written:
            # Nothing was done, as after any other error.
            raise
        say(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    if json:
        tell(result.cases)
    say(_told(result, time.perf_counter() - start), err=json)
    say(next_step("evaluate", "--predictions", output, "--reference", "FOLDER"), err=json)


def _require_model(model: Path, folds: Sequence[str] | None, weights: str, runtime: str, quiet: bool) -> Path:
    """The folder or file of a model, after a check that it is there; nothing heavy is imported."""
    from umseg.inference.bundle.location import local_model
    from umseg.inference.runtimes.names import is_onnx, runtime_of
    from umseg.inference.weights import find_weights
    from umseg.workspace import ModelFolder, choice_file

    place = local_model(model, quiet=quiet)
    if choice_file(place) is not None:
        return place
    runtime_of(place, runtime)
    if not is_onnx(place):
        ModelFolder(place).require()
    if ModelFolder(place).card_file.exists():
        find_weights(place, folds, weights)
    return place


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
