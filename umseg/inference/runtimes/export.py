"""``umseg export --onnx``: a model folder as ONNX files, with the program that predicts with them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from umseg.common.errors import UserError
from umseg.common.files import atomic_path, plain_path, remove_leftovers, write_text
from umseg.common.processes.claims import claim
from umseg.common.text import few
from umseg.inference.runtimes.folds import TOLERANCE, converted_fold, largest_difference
from umseg.inference.runtimes.names import ENDING
from umseg.inference.runtimes.source import FIRST_STAGE
from umseg.inference.weights import find_weights
from umseg.models.card import ModelCard, first_stage_folder, load_card
from umseg.workspace import FoldFolder, WeightsName

log = logging.getLogger(__name__)

PROGRAM, PACKAGE = "predict.py", "umseg_standalone"
_PROGRAM = f'''"""Segment an image with the networks beside this file: numpy and onnxruntime suffice.

    python {PROGRAM} IMAGE.nii.gz --output LABELS.nii.gz
"""

from pathlib import Path

from {PACKAGE}.command import main

raise SystemExit(main(Path(__file__).parent))
'''


def export_onnx(
    model_folder: Path,
    output: Path,
    folds: Sequence[str] | None = None,
    weights: WeightsName = "final",
    *,
    overwrite: bool = False,
) -> list[Path]:
    """Write the networks of a model folder as ONNX files.

    Every file says by itself how images are prepared and what its outputs mean. A folder also gets ``predict.py``,
    which segments images with onnxruntime and numpy alone, except for a cascade, whose first stage is a folder in it.

    Args:
        model_folder: ``.../models/<model>__<configuration>``.
        output: A file ``.onnx`` for one fold, or else a folder, which gets ``fold_<k>.onnx``.
        folds: Folds; None: all trained folds.
        weights: ``final`` or ``best``.
        overwrite: Whether earlier files are replaced.

    Returns:
        The files of the networks.

    Raises:
        UserError: The model cannot be converted, computes something else in ONNX, or ``output`` cannot be written.
    """
    card, output = load_card(model_folder), plain_path(output)
    files = find_weights(Path(model_folder), folds, weights)
    first = first_stage_folder(Path(model_folder), card)
    if output.suffix.lower() == ENDING:
        _require_one_file(card, files, output, overwrite)
        return [_write(card, files[0], output)]
    _require_place(output, overwrite)
    with claim(output, "exports a model into this folder"):
        remove_leftovers(output)
        for stale in output.glob(f"fold_*{ENDING}"):
            stale.unlink()
        if first is None:
            _write_program(output)
        else:
            card = card.model_copy(update={"first_stage": FIRST_STAGE})
            names = [FoldFolder(file.parent).name for file in files]
            earlier = find_weights(first, None if names == ["all"] else names, weights)
            for file in earlier:
                _write(load_card(first), file, output / FIRST_STAGE / _name(file))
        return [_write(card, file, output / _name(file)) for file in files]


def _name(weights: Path) -> str:
    return f"fold_{FoldFolder(weights.parent).name}{ENDING}"


def _write(card: ModelCard, weights: Path, path: Path) -> Path:
    """Convert a fold, compare it with torch, and write it."""
    file = converted_fold(card, weights)
    difference = largest_difference(file, weights)
    if not difference <= TOLERANCE:
        raise UserError(
            "The network does not compute the same in ONNX, and was not written.",
            file=weights,
            found=f"logits that differ by {difference:.2g} from torch's",
            expected=f"at most {TOLERANCE:g}",
            remedy="Predict with torch, which is the default.",
        )
    with atomic_path(path, needed=len(file.content)) as temporary:
        temporary.write_bytes(file.content)
    log.info("Wrote %s; its logits differ by at most %.1g from torch's.", path, difference)
    return path


def _write_program(folder: Path) -> None:
    for source in resources.files("umseg.inference.standalone").iterdir():
        if source.name.endswith(".py"):
            write_text(folder / PACKAGE / source.name, source.read_text(encoding="utf-8"))
    write_text(folder / PROGRAM, _PROGRAM)


def _require_one_file(card: ModelCard, files: Sequence[Path], output: Path, overwrite: bool) -> None:
    if card.first_stage is not None:
        raise UserError(
            "A cascade does not fit into one ONNX file.",
            file=output,
            found="a model with a first stage",
            remedy="Name a folder, which gets a file for every network.",
        )
    if len(files) > 1:
        names = [FoldFolder(file.parent).name for file in files]
        raise UserError(
            "An ONNX file holds one fold.",
            file=output,
            found=f"the folds {few(names)}",
            remedy="Name a folder, which gets a file for every fold, or choose one of them with --folds.",
        )
    if output.is_dir():
        raise UserError("The ONNX file is a folder.", file=output, remedy="Name a file.")
    if output.exists() and not overwrite:
        raise UserError("The file exists.", file=output, remedy="Name another file, or replace it with --overwrite.")


def _require_place(folder: Path, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise UserError(
            "The output is neither an ONNX file nor a folder.",
            file=folder,
            remedy=f"Name a file that ends in {ENDING}, or a new folder.",
        )
    found = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    known = {PROGRAM, PACKAGE, FIRST_STAGE}
    foreign = [name for name in found if name not in known and not (name.startswith("fold_") and name.endswith(ENDING))]
    foreign = [name for name in foreign if not name.startswith(".")]
    if foreign or (found and not overwrite):
        raise UserError(
            "The folder is not empty.",
            file=folder,
            found=few(foreign or found),
            remedy="Name a new folder." if foreign else "Name a new folder, or replace its files with --overwrite.",
        )
