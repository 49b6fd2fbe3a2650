"""Post-processing of instance maps, as the validation of each fold chose it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from umseg.common.text import counted, few
from umseg.preprocess.instance_cleaning import Cleaning
from umseg.workspace import FoldFolder

log = logging.getLogger(__name__)

_REMEDY = "Remove the file to predict without post-processing, or put back the one that `umseg train` wrote."
_F1 = Annotated[float, Field(ge=0, le=1)]


class Postprocessing(Cleaning):
    """``postprocessing.json``: the cleaning that gave a fold's validation cases the highest mean F1 of objects.

    Attributes:
        cases: Number of validation cases.
        F1_before: Their mean F1 without cleaning; None if neither their label maps nor the references have an object.
        F1_after: Their mean F1 with it, likewise.
    """

    most_bytes: ClassVar[int] = 2**16

    schema_version: Literal[1] = 1
    cases: Annotated[int, Field(ge=0)]
    F1_before: _F1 | None
    F1_after: _F1 | None


def described(cleaning: Cleaning) -> str:
    """What a cleaning does, in words; it must change something."""
    parts = [f"objects of fewer than {cleaning.smallest:,} voxels are removed"] if cleaning.smallest > 1 else []
    return " and ".join([*parts, *(["holes in objects are filled"] if cleaning.fill_holes else [])])


def combined(choices: Sequence[Cleaning]) -> Cleaning:
    """One cleaning for several folds: the median of the smallest sizes, and holes are filled if most folds fill them.

    Of an even number of sizes, the lower of the two in the middle is taken.

    Args:
        choices: At least one.
    """
    sizes = sorted(choice.smallest for choice in choices)
    filling = sum(choice.fill_holes for choice in choices)
    return Cleaning(smallest=sizes[(len(sizes) - 1) // 2], fill_holes=2 * filling > len(choices))


def find_cleaning(folds: Sequence[FoldFolder]) -> Cleaning | None:
    """The cleaning for the label maps of these folds together; None if they stay as they are. The choice is logged.

    Args:
        folds: The folds that are averaged. Unless all of them have a ``postprocessing.json``, nothing is cleaned.

    Raises:
        UserError: A file is not valid.
    """
    files = {fold.name: fold.postprocessing_file for fold in folds}
    return agreed({name: Postprocessing.load(file, _REMEDY) if file.exists() else None for name, file in files.items()})


def agreed(choices: Mapping[str, Cleaning | None]) -> Cleaning | None:
    """The cleaning for several folds together; None if label maps stay as they are. The choice is logged.

    Args:
        choices: The name of each fold to its choice. Unless all of them have one, nothing is cleaned.
    """
    chosen = [choice for choice in choices.values() if choice is not None]
    if len(chosen) < len(choices):
        if chosen:
            log.warning(
                "No post-processing, because its choice is missing in %s. Remove validation/metrics.json there and run "
                "the same `umseg train` command to choose it, or name other --folds.",
                few(f"fold {name}" for name, choice in choices.items() if choice is None),
            )
        return None
    cleaning = combined(chosen)
    if cleaning.changes_nothing:
        return None
    by = "" if len(chosen) == 1 else f" in {counted(len(chosen), 'fold')} (median size; holes by majority)"
    log.info("Post-processing: %s, as validation chose%s.", described(cleaning), by)
    return cleaning
