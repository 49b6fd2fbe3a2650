"""The verbs that only show: ``umseg models``, ``inspect``, ``status`` and ``doctor``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from umseg.cli.support.console import say
from umseg.cli.support.options import (
    WORKSPACE_ROOT,
    Config,
    Debug,
    Planned,
    Quiet,
    Workspace,
)

log = logging.getLogger(__name__)


def models(
    dataset: Planned,
    workspace: Workspace = WORKSPACE_ROOT,
    config: Config = None,
    draw: Annotated[
        Path | None,
        typer.Option("--draw", help="Folder for a picture of every U-Net: its stages, blocks and Mamba layers (SVG)."),
    ] = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """List the models with their parameters, multiply-accumulates and expected memory on a plan."""
    from umseg.dataset.dataset import Dataset
    from umseg.planning.plan import Plan
    from umseg.workspace import Workspace as PlannedWorkspace

    planned = PlannedWorkspace.of(dataset, workspace)
    plan = planned.load(Plan)
    configuration = plan.configuration(config or plan.default_configuration, planned.plan_file)
    description = planned.load(Dataset).description
    log.info("Building every model for %s; those of MONAI take some seconds each.", plan.dataset_name)
    # torch is imported here, after all names have been checked.
    from umseg.models.measured_memory import MemoryMeter
    from umseg.reports.models import describe_models, format_models

    facts = describe_models(configuration, description, MemoryMeter(planned.memory_file))
    for line in format_models(facts, configuration.batch_size):
        say(line)
    if draw is not None:
        from umseg.reports.drawing import draw_models

        drawn, missing = draw_models(draw, configuration, description)
        say("Pictures: " + (", ".join(str(file) for file in drawn) or "none"))
        for name, reason in missing.items():
            say(f"No picture of {name}: {reason}")


def inspect(
    dataset: Planned,
    workspace: Workspace = WORKSPACE_ROOT,
    config: Config = None,
    patches: Annotated[int, typer.Option(min=1, max=64, help="Number of patches.")] = 8,
    seed: Annotated[
        int,
        typer.Option(min=0, max=2**63 - 1, help="Seed; the patches are the first of `umseg train --fold all` with it."),
    ] = 0,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Draw training patches as the network sees them, before and after augmentation, with their labels."""
    from umseg.workspace import Workspace as PlannedWorkspace

    planned = PlannedWorkspace.of(dataset, workspace)
    # torch is imported here, after the name has been checked.
    from umseg.reports.inspect import inspect_training

    path = inspect_training(planned, config, patches=patches, seed=seed)
    say(f"Picture: {path}")


def status(
    dataset: Planned,
    workspace: Workspace = WORKSPACE_ROOT,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """List the training runs of a data set with their progress, scores and the commands that resume them."""
    from umseg.reports.status import find_notices, find_runs, format_runs
    from umseg.workspace import Workspace as PlannedWorkspace

    planned = PlannedWorkspace.of(dataset, workspace)
    say(format_runs(find_runs(planned), notices=find_notices(planned)))


def doctor(quiet: Quiet = False, debug: Debug = False) -> None:
    """Show versions and devices of this machine, with the precision and scan that each device will use."""
    from umseg.reports.packages import package_lines

    for line in package_lines():
        say(line)
    # torch is imported here, while the first lines are read.
    from umseg.reports.doctor import device_lines

    for line in device_lines():
        say(line)
