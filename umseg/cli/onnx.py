"""``umseg export --onnx``: the networks of a model as ONNX files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from umseg.cli.support.console import say
from umseg.cli.support.next_step import next_step
from umseg.common.errors import UserError
from umseg.common.text import counted

if TYPE_CHECKING:
    from umseg.workspace import WeightsName


def refuse_terms(given: Mapping[str, object]) -> None:
    """Refuse options that only a bundle has a place for.

    Args:
        given: Option to its value; None and False were not given.

    Raises:
        UserError: One was given.
    """
    wrong = [option for option, value in given.items() if value]
    if wrong:
        raise UserError(
            f"{wrong[0]} has no meaning with --onnx.",
            found=", ".join(wrong),
            remedy="Leave it out, or export a bundle (FILE.umseg), which has a place for it.",
        )


def export_networks(
    model: str, target: Path, folds: Sequence[str] | None, weights: WeightsName, *, overwrite: bool, quiet: bool
) -> None:
    """Write ONNX files and say what comes next.

    Raises:
        UserError: The model cannot be converted, or the files cannot be written.
    """
    from umseg.inference.runtimes.packages import require_onnx

    # torch is imported behind this.
    require_onnx()
    from umseg.inference.bundle.location import local_model
    from umseg.inference.runtimes.export import PROGRAM, export_onnx
    from umseg.workspace import choice_file

    place = local_model(model, quiet=quiet)
    if choice_file(place) is not None:
        raise UserError(
            "--onnx converts one model at a time, and this is a choice of `umseg best`.",
            file=Path(model),
            remedy="Convert each model folder that best.json names; `umseg predict` averages what it is given.",
        )
    files = export_onnx(place, target, folds, weights, overwrite=overwrite)
    program = target / PROGRAM
    say(f"Wrote {counted(len(files), 'network')} to {target}.")
    if program.exists():
        say(f"Without umseg: python {program} IMAGE.nii.gz --output LABELS.nii.gz (needs numpy and onnxruntime)")
    say(next_step("predict", "--model", target, "--input", "FOLDER", "--output", "FOLDER"))
