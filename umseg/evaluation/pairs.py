"""Pairs of a prediction and its reference, and what becomes of files that have no counterpart."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from umseg.common.errors import UserError
from umseg.common.registry import unknown_name
from umseg.common.text import few, with_commas
from umseg.dataset.io.registry import label_endings
from umseg.dataset.listing import is_folder, list_folder, refuse_lost
from umseg.dataset.naming import second_copies

log = logging.getLogger(__name__)

Missing = Literal["error", "zero", "skip"]
"""What becomes of a reference without a prediction: an error, a score as if nothing had been predicted, or no score."""

REFERENCE_SUFFIX = "_label"
"""What the references of public cell data have behind the name of the image."""


@dataclass(frozen=True)
class Pair:
    """A case's two label maps.

    Attributes:
        case: File name without its ending.
        prediction: The predicted label map, or where it would be.
        reference: The reference label map.
        is_missing: Whether there is no prediction, so that the case is scored as if nothing had been predicted.
    """

    case: str
    prediction: Path
    reference: Path
    is_missing: bool = field(default=False, kw_only=True)


@dataclass(frozen=True)
class Pairs:
    """The cases of two folders.

    Attributes:
        scored: The cases to score, sorted by name.
        missing: Cases without a prediction, sorted; scored as empty, or not scored, as chosen.
        surplus: Predictions without a reference, sorted, which are not scored.
    """

    scored: tuple[Pair, ...]
    missing: tuple[str, ...]
    surplus: tuple[str, ...]


def find_pairs(
    predictions: Path,
    reference: Path,
    file_ending: str | None = None,
    cases: Collection[str] | None = None,
    missing: Missing = "error",
) -> Pairs:
    """Pair the label maps of two folders by their file names.

    The folders may hold different formats: ``CASE.mha`` is a prediction for ``CASE.nii.gz``. Where all references are
    called ``CASE_label`` and no prediction is, they belong to the predictions ``CASE``. Names that lead nowhere count;
    reading them is an error.

    Args:
        predictions: Folder of predicted label maps.
        reference: Folder of reference label maps.
        file_ending: Ending of the label maps in both folders, with the dot; None: the only one in the reference folder,
            and in the predictions any one.
        cases: Names of the cases to pair; None: all cases, each of which must be in both folders.
        missing: What becomes of references without a prediction. Predictions without a reference are an error with
            ``error``, and left out otherwise.

    Raises:
        UserError: A folder does not exist or has no label map; the reference folder mixes formats; cases are missing
            in one of the folders; ``missing`` is none of the three.
    """
    if missing not in get_args(Missing):
        raise unknown_name("rule for missing predictions", missing, get_args(Missing), "--missing")
    ending = "." + file_ending.removeprefix(".") if file_ending else _only_ending(reference)
    references = _named_as_images(_label_maps(reference, ending), predictions)
    predicted = _label_maps(predictions, ending) if file_ending else _predictions(predictions, ending, references)
    chosen = set(references if cases is None else with_commas(list(cases), references))
    if not chosen:
        raise UserError("--cases names no case.", file=reference, remedy="Name at least one case.")
    _refuse_missing(chosen - set(references), "case of --cases", "cases of --cases", reference, ending)
    lost = chosen - set(predicted)
    surplus = set(predicted) - set(references) if cases is None else set[str]()
    if missing == "error":
        _refuse_missing(lost, "reference case", "reference cases", predictions, ending)
        _refuse_missing(surplus, "predicted case", "predicted cases", reference, ending)
    elif chosen <= lost:
        raise UserError(
            "No reference case has a prediction.",
            file=predictions,
            found=few(sorted(predicted)),
            expected=f"predictions of {few(sorted(chosen))}",
            remedy="Check that these are the right folders.",
        )
    _tell(lost, surplus, len(chosen), missing)
    scored = [
        Pair(case, predicted.get(case, predictions / f"{case}{ending}"), references[case], is_missing=case in lost)
        for case in sorted(chosen if missing == "zero" else chosen - lost)
    ]
    return Pairs(tuple(scored), tuple(sorted(lost)), tuple(sorted(surplus)))


def _tell(lost: Collection[str], surplus: Collection[str], expected: int, missing: Missing) -> None:
    if lost:
        consequence = "scored as if nothing had been predicted" if missing == "zero" else "not scored"
        log.warning(
            "%d of %d reference cases have no prediction and are %s: %s",
            len(lost),
            expected,
            consequence,
            few(sorted(lost)),
        )
    if surplus:
        log.warning("%s no reference: %s", _have(len(surplus), "prediction", "predictions"), few(sorted(surplus)))


def _named_as_images(references: Mapping[str, Path], predictions: Path) -> Mapping[str, Path]:
    """The references without ``_label`` behind their names, where all have it and no prediction does."""
    predicted = {path.name[: -len(ending)] for path in _files(predictions) if (ending := _ending(path.name))}
    if all(name.endswith(REFERENCE_SUFFIX) for name in references) and predicted.isdisjoint(references):
        return {name.removesuffix(REFERENCE_SUFFIX): path for name, path in references.items()}
    return references


def _have(count: int, one: str, many: str) -> str:
    return f"{count} {one} has" if count == 1 else f"{count} {many} have"


def _refuse_missing(missing: Collection[str], one: str, many: str, folder: Path, ending: str) -> None:
    if not missing:
        return
    raise UserError(
        f"{_have(len(missing), one, many)} no label map in {folder.name or folder}.",
        file=folder,
        found="no " + few(case + ending for case in sorted(missing)),
        expected="a prediction for every reference and a reference for every prediction, under the same file name",
        remedy="Add or remove files, choose the cases to score with --cases, or say with --missing what becomes of "
        "cases without a prediction: skip leaves them out, zero scores them as if nothing had been predicted.",
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
    found = [ending for ending in label_endings() if name.lower().endswith(ending)]
    return max(found, key=len, default=None)


def _label_maps(folder: Path, ending: str) -> dict[str, Path]:
    """Case name to file."""
    found = _with_ending(folder, ending)
    if not found:
        raise UserError(
            "The folder has no label maps.",
            file=folder,
            expected=f"files ending in {ending}",
            remedy="Check that this is the right folder, or name another file ending.",
        )
    return found


def _predictions(folder: Path, ending: str, references: Collection[str]) -> dict[str, Path]:
    """Case name to file: of the references' format or, where there is none of it, of another one."""
    endings = {known for path in _files(folder) if (known := _ending(path.name)) is not None}
    by_ending = {other: _with_ending(folder, other) for other in sorted(endings)}
    same = by_ending.pop(ending, {})
    others: dict[str, list[Path]] = {}
    for files in by_ending.values():
        for case, path in files.items():
            # Beside predictions of the references' format, files of other formats are pictures or notes.
            if case not in same and (case in references or not same):
                others.setdefault(case, []).append(path)
    twice = {case: paths for case, paths in others.items() if len(paths) > 1}
    if twice:
        raise UserError(
            "A case has predictions of several formats.",
            file=folder,
            found=few(path.name for paths in twice.values() for path in paths),
            expected="one prediction per case",
            remedy="Name the file ending, or remove the wrong files.",
        )
    found = {**same, **{case: paths[0] for case, paths in others.items()}}
    return found or _label_maps(folder, ending)


def _with_ending(folder: Path, ending: str) -> dict[str, Path]:
    files = [path for path in _files(folder) if _is_named(path.name, ending)]
    copies = second_copies(files, ending)
    if copies:
        names = few(path.name for path in copies)
        log.warning("%s: %d second copies of files are skipped: %s", folder, len(copies), names)
    return {path.name[: -len(ending)]: path for path in files if path not in copies}


def _is_named(name: str, ending: str) -> bool:
    """Whether a name has this ending, and not a longer one that ends in it."""
    return name.lower().endswith(ending.lower()) and len(_ending(name) or "") <= len(ending)


def _files(folder: Path) -> list[Path]:
    refuse_lost(folder)
    if not is_folder(folder):
        raise UserError(
            "The folder does not exist.",
            file=folder,
            found="a file" if folder.exists() else None,
            remedy="Check the path.",
        )
    files, folders = list_folder(folder)
    # A folder with the name of a label map is not skipped: reading it says what it is.
    return sorted([*files, *(path for path in folders if _ending(path.name) is not None)])
