"""The ``umseg`` command: its verbs, and what a call without a verb does."""

from __future__ import annotations

from typing import Annotated

import typer

from umseg import __version__
from umseg.cli.demo import demo
from umseg.cli.evaluate import evaluate
from umseg.cli.foreign import convert, imports
from umseg.cli.look import doctor, inspect, models, status
from umseg.cli.options import (
    command_of,
    new_group,
)
from umseg.cli.plan import plan
from umseg.cli.predict import predict
from umseg.cli.train import train

app = new_group(
    "Self-configuring biomedical image segmentation: plan, train, predict, evaluate.",
    name="umseg",
    add_completion=False,
)
app.add_typer(convert, name="convert")
app.add_typer(imports, name="import")
command = command_of(app)


@app.callback(invoke_without_command=True)
def version(
    show: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Options of ``umseg`` itself."""
    if show:
        typer.echo(f"umseg {__version__}")
        raise typer.Exit


for function in (plan, train, predict, evaluate, models, demo, inspect, status, doctor):
    command(function)
