"""What the commands share: options, and how an error ends."""

from __future__ import annotations

import functools
import logging
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from umseg.common.errors import UserError

FunctionT = TypeVar("FunctionT", bound=Callable[..., None])

Planned = Annotated[str, typer.Argument(help="Name of a planned data set, or its folder.")]
Config = Annotated[
    str | None,
    typer.Option("--config", help="Configuration of the plan. [default: 3d_fullres, 2d for 2-D images]"),
]
Workspace = Annotated[Path, typer.Option("--workspace", help="Where workspaces are kept, one folder per data set.")]
LoaderWorkers = Annotated[
    int | None,
    typer.Option(
        "--workers", min=0, help="Processes that prepare batches; 0: none. [default: half of the cores, at most 4]"
    ),
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", min=0, help="Worker processes; 0: none. [default: one per core, up to 8]"),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")]
Precision = Annotated[str, typer.Option("--precision", help="auto, fp32, bf16 or fp16 (of the convolutions).")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars, only results and warnings.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error, and more log messages.")]

WORKSPACE_ROOT = Path("umseg-workspace")


def new_group(text: str, **settings: Any) -> typer.Typer:
    """A command that has commands of its own; ``text`` is its help."""
    return typer.Typer(
        help=text, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None, **settings
    )


def command_of(group: typer.Typer, name: str | None = None) -> Callable[[FunctionT], FunctionT]:
    """Register a function whose user errors end in one message and exit code 2; ``--debug`` shows where they arose.

    Args:
        group: umseg itself, or a command that has commands of its own.
        name: Of the command; the function's own if None.
    """

    def register(function: FunctionT) -> FunctionT:
        @functools.wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> None:
            debug, quiet = kwargs["debug"], kwargs["quiet"]
            level = logging.DEBUG if debug else logging.WARNING if quiet else logging.INFO
            logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
            logging.getLogger("umseg").setLevel(level)
            try:
                function(*args, **kwargs)
            except UserError as error:
                if debug:
                    traceback.print_exc()
                typer.echo(f"error: {error}", err=True)
                raise typer.Exit(2) from None
            except KeyboardInterrupt:
                typer.echo("interrupted", err=True)
                raise typer.Exit(130) from None

        group.command(name=name or function.__name__)(guarded)
        return function

    return register
