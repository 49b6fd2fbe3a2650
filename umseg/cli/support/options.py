"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from umseg.workspace import DEFAULT_ROOT

MOST_WORKERS = 256
"""More processes than any machine has cores for."""

Planned = Annotated[str, typer.Argument(help="Name of a planned data set, or its folder.")]
Config = Annotated[
    str | None,
    typer.Option("--config", help="Configuration of the plan. [default: 3d_fullres, or 2d for 2-D images]"),
]
Workspace = Annotated[
    Path,
    typer.Option(
        "--workspace", help="Folder of the workspaces, one for each data set.", rich_help_panel="What to train"
    ),
]
LoaderWorkers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=0,
        max=MOST_WORKERS,
        help="Processes that prepare batches; 0: none. [default: half of the cores, at most 4]",
        rich_help_panel="Memory and speed",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers", min=0, max=MOST_WORKERS, help="Worker processes; 0: none. [default: one per core, at most 8]"
    ),
]
Device = Annotated[
    str,
    typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.", rich_help_panel="Memory and speed"),
]
Precision = Annotated[
    str, typer.Option("--precision", help="Number format of the convolutions: auto, fp32, bf16 or fp16.")
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", help="Show no progress bars, only results and warnings.", rich_help_panel="Output"),
]
Debug = Annotated[
    bool,
    typer.Option("--debug", help="Show the traceback of an error, and more log messages.", rich_help_panel="Output"),
]

WORKSPACE_ROOT = DEFAULT_ROOT


def worker_count(given: int | None) -> int:
    """The number of worker processes: the one that the user gave, or the default."""
    from umseg.common.processes.parallel import default_workers

    return default_workers() if given is None else given
