"""``umseg export`` and ``umseg import``: a model as one file, from the hub and to it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from umseg.cli.support.commands import Verb, lazy_group, new_group
from umseg.cli.support.console import say
from umseg.cli.support.next_step import next_step
from umseg.cli.support.options import Debug, Quiet
from umseg.common.text import counted

if TYPE_CHECKING:
    from umseg.inference.bundle.manifest import Manifest

_IMPORTS = {
    "bundle": Verb("umseg.cli.bundle:import_bundle"),
    "nnunet": Verb("umseg.cli.foreign:nnunet"),
}


def export(
    model: Annotated[str, typer.Argument(help="Model folder, best.json, FILE.umseg or hf://organisation/name.")],
    target: Annotated[
        str,
        typer.Argument(
            help="FILE.umseg; hf://organisation/name to publish the model; or with --onnx FILE.onnx or a folder."
        ),
    ],
    onnx: Annotated[
        bool,
        typer.Option(
            "--onnx", help="Write the networks as ONNX files, with a program that needs no umseg (docs/onnx.md)."
        ),
    ] = False,
    folds: Annotated[
        str | None, typer.Option(help="Folds, e.g. 0,1,2. [default: every trained fold, or those of best.json]")
    ] = None,
    weights: Annotated[
        str,
        typer.Option(help="Weights of the last epoch (final), or of the epoch with the best validation Dice (best)."),
    ] = "final",
    licence: Annotated[str | None, typer.Option(help="Terms of use, e.g. CC-BY-4.0.")] = None,
    intended_use: Annotated[
        str | None, typer.Option(help="What the model is for, and what not: a text, or @FILE.", metavar="TEXT|@FILE")
    ] = None,
    notes: Annotated[
        str | None, typer.Option(help="Anything else that users should know.", metavar="TEXT|@FILE")
    ] = None,
    hide_cases: Annotated[
        bool, typer.Option("--hide-cases", help="Number the validation cases in the scores instead of naming them.")
    ] = False,
    public: Annotated[
        bool, typer.Option("--public", help="Let everybody see a new repository of the hub. [default: private]")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the file, or the model that the repository holds.")
    ] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write a trained model as one file, with its scores and terms of use; publish it; or convert it to ONNX."""
    from umseg.common.registry import unknown_name
    from umseg.inference.bundle.hub import hub_model, is_on_hub
    from umseg.workspace import WEIGHTS

    kind = next((name for name in WEIGHTS if name == weights), None)
    if kind is None:
        raise unknown_name("kind of weights", weights, WEIGHTS, "--weights")
    chosen = [name.strip() for name in folds.split(",")] if folds else None
    if onnx:
        from umseg.cli.onnx import export_networks, refuse_terms

        refuse_terms(
            {
                "--licence": licence,
                "--intended-use": intended_use,
                "--notes": notes,
                "--hide-cases": hide_cases,
                "--public": public,
            }
        )
        export_networks(model, Path(target), chosen, kind, overwrite=overwrite, quiet=quiet)
        return
    published = hub_model(target) if is_on_hub(target) else None
    said = {
        "licence": licence,
        "intended_use": _text(intended_use, "--intended-use"),
        "notes": _text(notes, "--notes"),
    }
    # torch is imported here, after all options have been checked.
    from umseg.workflows.bundle.export import Terms, export_bundle
    from umseg.workflows.bundle.push import push

    options: Mapping[str, Any] = {
        "folds": chosen,
        "weights": kind,
        "terms": Terms(**said),
        "hide_cases": hide_cases,
        "overwrite": overwrite,
        "quiet": quiet,
    }
    if published is None:
        exported = export_bundle(model, Path(target), **options)
        place = "Wrote " + target
    else:
        exported = push(model, published, public=public, **options)
        place = f"Published {published}"
    say(f"{place}: {_summary(exported.manifest)}.")
    say(next_step("predict", "--model", target, "--input", "FOLDER", "--output", "FOLDER"))


def import_bundle(
    source: Annotated[str, typer.Argument(help="FILE.umseg, or hf://organisation/name[@revision].")],
    output: Annotated[
        Path | None, typer.Option(help="New model folder. [default: umseg-models/NAME]", show_default=False)
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model that was imported earlier.")] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Import a model that `umseg export` wrote; nothing in the file is run."""
    from umseg.workflows.bundle.imported import import_bundle as unpack

    imported = unpack(source, output, overwrite=overwrite, quiet=quiet)
    manifest = imported.manifest
    say(f"Imported {manifest.name} to {imported.folder}: {_summary(manifest)}.")
    for title, text in (("Licence", manifest.licence), ("Intended use", manifest.intended_use)):
        if text:
            say(f"{title}: {text}")
    say(next_step("predict", "--model", imported.folder, "--input", "FOLDER", "--output", "FOLDER"))


class _WithBundles(lazy_group(_IMPORTS)):  # type: ignore[misc]
    """The kinds of models; a bundle needs no word for its kind."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the arguments begin with, or that for bundles if they begin with the name of one."""
        if args and args[0] not in _IMPORTS and _is_bundle(args[0]):
            args = ["bundle", *args]
        return super().resolve_command(ctx, args)


imports = new_group("Import a model: FILE.umseg, hf://organisation/name, or one of another system.", cls=_WithBundles)


def _is_bundle(argument: str) -> bool:
    from umseg.inference.bundle.hub import is_on_hub
    from umseg.inference.bundle.manifest import ENDING

    return is_on_hub(argument) or argument.lower().endswith(ENDING) or Path(argument).is_file()


def _summary(manifest: Manifest) -> str:
    """As in "5 folds of Dataset004_Hippocampus, 2 classes, 34.1 MB"; "2 models with 10 folds" if there are several."""
    from umseg.common.memory import memory_text

    members = manifest.members or ()
    folds = counted(sum(len(member.folds) for member in members) or len(manifest.training.folds), "fold")
    size = memory_text(sum(file.size for file in manifest.files))
    if len(members) > 1:
        folds = f"{len(members)} models with {folds}"
    return f"{folds} of {manifest.training.dataset}, {counted(len(manifest.labels), 'class', 'classes')}, {size}"


def _text(given: str | None, option: str) -> str | None:
    """A text that is given as it is, or as the name of a file behind an @.

    Raises:
        UserError: The file cannot be read.
    """
    if given is None or not given.startswith("@"):
        return given
    from umseg.common.errors import UserError
    from umseg.common.files import read_text
    from umseg.inference.bundle.manifest import MOST_LETTERS

    file, remedy = Path(given[1:]), f"Correct {option}: a text, or @ and the name of a file with the text."
    try:
        return read_text(file, 4 * MOST_LETTERS, remedy=remedy).strip()
    except (OSError, UnicodeDecodeError) as error:
        found = error.strerror if isinstance(error, OSError) else "bytes that are not UTF-8"
        raise UserError(f"The text of {option} cannot be read.", file=file, found=found, remedy=remedy) from error
