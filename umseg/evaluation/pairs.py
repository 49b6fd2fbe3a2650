"""Pairs of a prediction and its reference."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from umseg.common.errors import UserError
from umseg.common.text import few
from umseg.dataset.io.registry import label_endings
from umseg.dataset.listing import is_folder, list_folder


@dataclass(frozen=True)
class Pair:
    """A case's two label maps.

    Attributes:
        case: File name without its ending.
        prediction: The predicted label map.
        reference: The reference label map.
    """

    case: str
    prediction: Path
    reference: Path


def find_pairs(
    predictions: Path, reference: Path, file_ending: str | None, cases: Collection[str] | None
) -> tuple[Pair, ...]:
    """Pair the label maps of two folders by their file names, sorted by case.

    Args:
        predictions: Folder of predicted label maps.
        reference: Folder of reference label maps.
        file_ending: Ending of the label maps, with the dot; None: the only one in the reference folder.
        cases: Names of the cases to pair; None: all cases, each of which must be in both folders.

    Raises:
        UserError: A folder does not exist or has no label map; the reference folder mixes formats; cases are missing
            in one of the folders.
    """
    ending = "." + file_ending.removeprefix(".") if file_ending else _only_ending(reference)
    predicted, references = _label_maps(predictions, ending), _label_maps(reference, ending)
    chosen = set(references if cases is None else cases)
    if not chosen:
        raise UserError("--cases names no case.", file=reference, remedy="Name at least one case.")
    _refuse_missing(chosen - set(references), "case of --cases", "cases of --cases", reference, ending)
    _refuse_missing(chosen - set(predicted), "reference case", "reference cases", predictions, ending)
    if cases is None:
        _refuse_missing(set(predicted) - set(references), "predicted case", "predicted cases", reference, ending)
    return tuple(Pair(case, predicted[case], references[case]) for case in sorted(chosen))


def _refuse_missing(missing: Collection[str], one: str, many: str, folder: Path, ending: str) -> None:
    if not missing:
        return
    kind = f"{one} has" if len(missing) == 1 else f"{many} have"
    raise UserError(
        f"{len(missing)} {kind} no label map in {folder.name or folder}.",
        file=folder,
        found="no " + few(case + ending for case in sorted(missing)),
        expected="a prediction for every reference and a reference for every prediction, under the same file name",
        remedy="Add or remove files, or choose the cases to score with --cases.",
    )


def _only_ending(folder: Path) -> str:
    endings = {ending for path in _files(folder) if (ending := _ending(path.name)) is not None}
    if len(endings) != 1:
        raise UserError(
            "The folder mixes label maps of several formats." if endings else "The folder has no label maps.",
            file=folder,
            found=", ".join(sorted(endings)) or None,
            expected="label maps of one format: " + ", ".join(label_endings()),
            remedy="Name the file ending." if endings else "Check that this is the right folder.",
        )
    return endings.pop()


def _ending(name: str) -> str | None:
    return next((ending for ending in label_endings() if name.lower().endswith(ending)), None)


def _label_maps(folder: Path, ending: str) -> dict[str, Path]:
    """Case name to file."""
    found = {path.name[: -len(ending)]: path for path in _files(folder) if path.name.lower().endswith(ending.lower())}
    if not found:
        raise UserError(
            "The folder has no label maps.",
            file=folder,
            expected=f"files ending in {ending}",
            remedy="Check that this is the right folder, or name another file ending.",
        )
    return found


def _files(folder: Path) -> list[Path]:
    if not is_folder(folder):
        raise UserError(
            "The folder does not exist.",
            file=folder,
            found="a file" if folder.exists() else None,
            remedy="Check the path.",
        )
    return list_folder(folder)[0]
