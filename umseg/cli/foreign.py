"""``umseg convert`` for data sets in other layouts, ``umseg import nnunet`` for models of another system."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from umseg.cli.support.commands import command_of, new_group
from umseg.cli.support.console import say
from umseg.cli.support.next_step import next_step
from umseg.cli.support.options import Debug, Quiet, Workers, worker_count
from umseg.common.text import counted

convert = new_group("Convert a data set to nnU-Net v2's raw format.")


@command_of(convert)
def msd(
    source: Annotated[Path, typer.Argument(help="Unpacked task: dataset.json, imagesTr/, labelsTr/, imagesTs/.")],
    destination: Annotated[Path, typer.Argument(help="New data set folder, e.g. Dataset004_Hippocampus.")],
    workers: Workers = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Convert a task of the Medical Segmentation Decathlon."""
    from umseg.dataset.convert.msd import convert_msd

    _report(convert_msd(source, destination, workers=worker_count(workers), quiet=quiet))


@command_of(convert)
def instances(
    source: Annotated[Path, typer.Argument(help="Folder with images/, instances/ and optionally manifest.csv.")],
    destination: Annotated[Path, typer.Argument(help="New data set folder, e.g. Dataset703_Nuclei.")],
    object_name: Annotated[str, typer.Option(help="Name of the objects, e.g. nucleus.")] = "object",
    case_column: Annotated[
        str | None,
        typer.Option(
            help="Column of manifest.csv with the case or file name. [default: case, id, image, file or name]"
        ),
    ] = None,
    split_column: Annotated[
        str | None,
        typer.Option(help="Column of manifest.csv that says train for training cases. [default: split]"),
    ] = None,
    group_column: Annotated[
        str | None,
        typer.Option(
            help="Column of manifest.csv with the group (e.g. patient) of each case, written to groups.csv. "
            "[default: group or field_group]"
        ),
    ] = None,
    workers: Workers = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Convert pictures with instance maps, in which every object has its own number."""
    from umseg.dataset.convert.instances import convert_instances
    from umseg.dataset.convert.manifest import Columns

    columns = Columns(case_column, split_column, group_column)
    folder = convert_instances(
        source, destination, object_name=object_name, columns=columns, workers=worker_count(workers), quiet=quiet
    )
    _report(folder)


def _report(folder: Path) -> None:
    from umseg.dataset.convert.target import summary

    say(f"{summary(folder)}. {next_step('plan', folder)}")


def nnunet(
    source: Annotated[Path, typer.Argument(help="<Trainer>__<Plans>__<configuration>: plans.json, fold_0/, ...")],
    destination: Annotated[Path, typer.Argument(help="New model folder.")],
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Import a model trained by nnU-Net v2 or the released U-Mamba; its checkpoints are read without running code."""
    from umseg.models.card import load_card
    from umseg.workflows.import_model import import_nnunet
    from umseg.workspace import ModelFolder

    folder = import_nnunet(source, destination)
    folds = counted(len(ModelFolder(folder).folds()), "fold")
    following = next_step("predict", "--model", folder, "--input", "FOLDER", "--output", "FOLDER")
    say(f"Imported {folds} of {load_card(folder).model} to {folder}. {following}")
