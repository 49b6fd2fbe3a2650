"""``umseg best``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from umseg.cli.support.console import say
from umseg.cli.support.next_step import next_step
from umseg.cli.support.options import WORKSPACE_ROOT, Debug, Device, Precision, Quiet, Workers, Workspace, worker_count


def best(
    planned: Annotated[
        str, typer.Argument(metavar="WORKSPACE", help="Workspace of a data set, or the name of a planned data set.")
    ],
    workspace: Workspace = WORKSPACE_ROOT,
    pairs: Annotated[
        bool,
        typer.Option(
            "--pairs/--no-pairs",
            help="Also try every two models together, which segments their validation cases once more.",
        ),
    ] = True,
    workers: Workers = None,
    device: Device = "auto",
    precision: Precision = "auto",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Choose the best model or pair of models, their folds and their post-processing, by cross-validation.

    The choice is written to best.json, which `umseg predict --model` takes.
    """
    from umseg.common.hardware_names import check_device_name, check_precision_name
    from umseg.workspace import Workspace as PlannedWorkspace

    check_device_name(device)
    check_precision_name(precision)
    folder = PlannedWorkspace(Path(planned))
    if not folder.plan_file.is_file():
        folder = PlannedWorkspace.of(planned, workspace)
    # torch is imported here, after all names have been checked.
    from umseg.reports.best import format_best
    from umseg.workflows.best.choose import choose_best
    from umseg.workflows.best.pairs import Resources

    resources = Resources(device, precision, worker_count(workers), quiet)
    chosen = choose_best(folder, pairs=pairs, resources=resources, say=say)
    say(format_best(chosen))
    say(next_step("predict", "--model", folder.best_file, "--input", "FOLDER", "--output", "FOLDER"))
