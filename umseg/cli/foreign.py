"""Commands that bring in what other systems made: ``umseg convert`` data sets, ``umseg import`` models."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from umseg.cli.commands import command_of, new_group
from umseg.cli.options import Debug, Quiet, Workers

convert = new_group("Make a data set in nnU-Net v2's raw format from another layout.")
imports = new_group("Make a model folder from a model that another system trained.")


@command_of(convert)
def msd(
    source: Annotated[Path, typer.Argument(help="Unpacked task: dataset.json, imagesTr/, labelsTr/, imagesTs/.")],
    destination: Annotated[Path, typer.Argument(help="Data set folder to be made, e.g. Dataset004_Hippocampus.")],
    workers: Workers = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Convert a task of the Medical Segmentation Decathlon."""
    from umseg.common.parallel import default_workers
    from umseg.dataset.convert.msd import convert_msd

    workers = default_workers() if workers is None else workers
    _say_converted(convert_msd(source, destination, workers=workers, quiet=quiet))


@command_of(convert)
def instances(
    source: Annotated[Path, typer.Argument(help="Folder: images/, instances/ and, if there is one, manifest.csv.")],
    destination: Annotated[Path, typer.Argument(help="Data set folder to be made, e.g. Dataset703_Nuclei.")],
    object_name: Annotated[str, typer.Option(help="What the instances are, e.g. nucleus.")] = "object",
    case_column: Annotated[
        str | None,
        typer.Option(help="Manifest: case or file name. [default: case, id, image, file or name]"),
    ] = None,
    split_column: Annotated[
        str | None,
        typer.Option(help="Manifest: train for the cases to learn from. [default: split]"),
    ] = None,
    group_column: Annotated[
        str | None,
        typer.Option(help="Manifest: what cases have in common that belong together. [default: group or field_group]"),
    ] = None,
    workers: Workers = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Convert pictures with instance maps, in which every object has a number of its own."""
    from umseg.common.parallel import default_workers
    from umseg.dataset.convert.instances import convert_instances
    from umseg.dataset.convert.manifest import Columns

    workers = default_workers() if workers is None else workers
    columns = Columns(case_column, split_column, group_column)
    made = convert_instances(
        source, destination, object_name=object_name, columns=columns, workers=workers, quiet=quiet
    )
    _say_converted(made)


def _say_converted(folder: Path) -> None:
    from umseg.dataset.convert.target import summary

    typer.echo(f"{summary(folder)}. Next: umseg plan {shlex.quote(str(folder))}")


@command_of(imports, "nnunet")
def nnunet(
    source: Annotated[Path, typer.Argument(help="<Trainer>__<Plans>__<configuration>: plans.json, fold_0/, ...")],
    destination: Annotated[Path, typer.Argument(help="Model folder to be made.")],
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Import a trained nnU-Net v2 or released U-Mamba; its checkpoints are read without running anything in them."""
    from umseg.models.card import load_card
    from umseg.workflows.import_model import import_nnunet
    from umseg.workspace import ModelFolder

    made = import_nnunet(source, destination)
    folds = len(ModelFolder(made).folds())
    path = shlex.quote(str(made))
    typer.echo(
        f"{load_card(made).model} with {folds} folds in {path}. "
        f"Next: umseg predict --model {path} --input FOLDER --output FOLDER"
    )
