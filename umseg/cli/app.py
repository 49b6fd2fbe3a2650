"""The ``umseg`` command: its verbs, and what a call without a verb does."""

from __future__ import annotations

from typing import Annotated

import typer

from umseg import __version__
from umseg.cli.support.commands import Verb, lazy_group, new_group

VERBS = {
    "plan": Verb("umseg.cli.plan:plan"),
    "train": Verb("umseg.cli.train:train", parameters="umseg.cli.training_options:training_parameters"),
    "predict": Verb("umseg.cli.predict:predict", grouped=True),
    "evaluate": Verb("umseg.cli.evaluate:evaluate", parameters="umseg.cli.evaluate:metric_parameters"),
    "compare": Verb("umseg.cli.compare:compare"),
    "report": Verb("umseg.cli.report:report"),
    "best": Verb("umseg.cli.best:best"),
    "models": Verb("umseg.cli.look:models"),
    "demo": Verb("umseg.cli.demo:demo"),
    "inspect": Verb("umseg.cli.look:inspect"),
    "status": Verb("umseg.cli.look:status"),
    "doctor": Verb("umseg.cli.look:doctor"),
    "convert": Verb("umseg.cli.foreign:convert"),
    "export": Verb("umseg.cli.bundle:export"),
    "import": Verb("umseg.cli.bundle:imports"),
}

app = new_group(
    "Self-configuring biomedical image segmentation: plan, train, predict, evaluate.",
    cls=lazy_group(VERBS),
    name="umseg",
)


@app.callback(invoke_without_command=True)
def version(
    show: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Options of ``umseg`` itself."""
    if show:
        typer.echo(f"umseg {__version__}")
        raise typer.Exit
