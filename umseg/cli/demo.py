"""``umseg demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from umseg.cli.support.console import say
from umseg.cli.support.options import Debug, LoaderWorkers, Quiet


def demo(
    output: Annotated[Path, typer.Option("--output", help="Folder for data, workspace and pictures.")] = Path(
        "umseg-demo"
    ),
    workers: LoaderWorkers = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Plan, train, predict and evaluate on real MRI: grey and white matter of the ICBM 152 template."""
    from umseg.evaluation import format_table
    from umseg.training.config.training_config import default_loader_workers
    from umseg.workflows.demo import run_demo

    workers = default_loader_workers() if workers is None else workers
    result = run_demo(output, workers=workers, quiet=quiet)
    say(format_table(result.metrics))
    say("Pictures: " + ", ".join(str(picture) for picture in result.pictures))
    say(f"Page: {result.page}")
