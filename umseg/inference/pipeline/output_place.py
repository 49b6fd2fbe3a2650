"""Where predictions may not be written: folders whose files are data, references or models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from umseg.common.errors import UserError
from umseg.dataset.dataset import Case
from umseg.dataset.io.registry import companions
from umseg.dataset.listing import is_lost, refuse_missing
from umseg.workspace import ModelFolder, Workspace

_PARTS_OF_DATA_SETS = ("imagestr", "labelstr", "imagests", "labelsts")
_REMEDY = "Choose another folder with --output."


def refuse_place(output: Path, inputs: Sequence[Path], cases: Sequence[Case]) -> None:
    """Refuse an output folder that holds, or belongs to, something else than predictions.

    Args:
        output: The output folder, which need not exist.
        inputs: The inputs that the user named.
        cases: The cases that were found there.

    Raises:
        UserError: The output is a file, an input folder, a data set, a workspace or a model folder, or part of one.
    """
    if is_lost(output):
        refuse_missing(output)
    folder = output.resolve()
    if folder.exists() and not folder.is_dir():
        raise UserError("The output is a file.", file=output, expected="a folder", remedy=_REMEDY)
    # Of a link both folders count: the one in which it was named, and that of the file it leads to.
    named = [image for case in cases for image in case.images]
    images = [image.resolve() for image in named]
    read = {path.resolve() for path in inputs if path.is_dir()} | {image.parent.resolve() for image in named}
    read |= {image.parent for image in images} | set(images)
    if folder in read:
        raise _refused("is the input folder, where label maps would be taken for images", output)
    if (folder / "imagesTr").is_dir() or (folder / "labelsTr").is_dir():
        raise _refused("is a data set", output)
    if folder.name.lower() in _PARTS_OF_DATA_SETS:
        raise _refused("is part of a data set", output)
    for above in (folder, *folder.parents):
        inside = folder.relative_to(above).parts[:1]
        workspace = Workspace(above)
        own = {path.relative_to(above).parts[0] for path in (workspace.stores, workspace.fixed_labels)} | {
            "models",
            "ensembles",
        }
        if workspace.plan_file.exists() and (not inside or inside[0] in own):
            raise _refused("is a workspace or part of one", output)
        if ModelFolder(above).card_file.exists() and (not inside or inside[0].startswith("fold_")):
            raise _refused("is a model folder or part of one", output)


def refuse_replacing_inputs(cases: Sequence[Case], targets: Sequence[Path]) -> None:
    """Raise a UserError if a file to be written is an image, or belongs to one."""
    inputs = {file.resolve() for case in cases for image in case.images for file in (image, *companions(image))}
    clash = next((path for path in targets if path.resolve() in inputs), None)
    if clash is not None:
        raise UserError("The output would replace an image that it is computed from.", file=clash, remedy=_REMEDY)


def _refused(what: str, output: Path) -> UserError:
    return UserError(
        f"The output folder {what}.",
        file=output,
        expected="a folder for predictions alone",
        remedy=_REMEDY,
    )
