"""``umseg compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from umseg.cli.support.console import say
from umseg.cli.support.options import Debug, Quiet
from umseg.common.errors import UserError
from umseg.common.files import write_text
from umseg.common.registry import unknown_name


def compare(
    methods: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]PLACE...",
            help="At least two methods: the metrics.json or the folder that `umseg evaluate` wrote, a fold, or a model "
            "folder, whose folds count together. NAME=PLACE,PLACE are several trainings of one method.",
            show_default=False,
        ),
    ],
    by_class: Annotated[bool, typer.Option("--by-class", help="Also compare the scores of each class.")] = False,
    only_common: Annotated[
        bool, typer.Option("--only-common", help="Leave out cases that not all methods have, and say which.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", help="Also write the tables into a file; its ending, .md, .csv or .tex, says how."),
    ] = None,
    format: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="md|csv|tex|json",
            help="What is printed: Markdown, which is easy to read; all figures as CSV or JSON; the table for a paper.",
        ),
    ] = "md",
    json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Compare methods on the same cases: tables as papers print them, paired tests, ranks, and what could be seen."""
    from umseg.evaluation.comparison.comparison import compare as compare_methods
    from umseg.evaluation.comparison.forms import FORMS
    from umseg.evaluation.comparison.methods import read_methods

    form = None if output is None else FORMS.get(output.suffix.removeprefix("."))
    if output is not None and form is None:
        raise UserError(
            "The ending of the output does not say which kind of table it is.",
            file=output,
            expected=" or ".join(f".{ending}" for ending in FORMS),
            remedy="Name a file with one of these endings.",
        )
    printed = "json" if json else format
    if printed not in (*FORMS, "json"):
        raise unknown_name("format", printed, (*FORMS, "json"), "--format")
    comparison = compare_methods(read_methods(methods, by_class=by_class, only_common=only_common))
    say((comparison.to_json() if printed == "json" else FORMS[printed](comparison)).rstrip())
    if output is not None and form is not None:
        write_text(output, form(comparison))
        say(f"Wrote {output}.", err=printed != "md")
