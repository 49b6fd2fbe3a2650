"""The classes of label maps that nothing describes: every value that occurs."""

from __future__ import annotations

import logging
from collections.abc import Sequence, Set

from umseg.common.processes.parallel import map_cases
from umseg.common.text import few
from umseg.dataset.io.images import read_label
from umseg.evaluation.classes import MASK_REMEDY, values_of
from umseg.evaluation.pairs import Pair

log = logging.getLogger(__name__)


def find_labels(
    pairs: Sequence[Pair], ignore_label: int | None = None, workers: int = 0, quiet: bool = False
) -> dict[str, int]:
    """The values that occur in predictions or references, without the background, under the names "1", "2", ...

    Args:
        pairs: At least one.
        ignore_label: Value of voxels that nobody annotated, which is no class.
        workers: Number of processes; 0 works in this one.
        quiet: Whether to show no progress bar.

    Raises:
        UserError: A file is missing or damaged.
    """
    names = [pair.case for pair in pairs]
    found = list(map_cases(_foreground_values, pairs, names, workers=workers, title="Finding labels", quiet=quiet))
    predicted, expected = (frozenset[int]().union(*sides) for sides in zip(*found, strict=True))
    return name_values(predicted, expected, ignore_label)


def name_values(predicted: Set[int], reference: Set[int], ignore_label: int | None) -> dict[str, int]:
    """The values of all predictions and references under the names "1", "2", ...; log if they have none in common."""
    _warn_of_other_values(predicted, reference)
    return {str(value): value for value in sorted(predicted | reference) if value != ignore_label}


def _foreground_values(pair: Pair) -> tuple[frozenset[int], frozenset[int]]:
    """The values of the prediction and those of the reference."""
    predicted = frozenset[int]() if pair.is_missing else values_of(read_label(pair.prediction).array)
    return predicted - {0}, values_of(read_label(pair.reference).array) - {0}


def _warn_of_other_values(predicted: Set[int], reference: Set[int]) -> None:
    """Say that all scores will be 0 because the two folders name their classes by different values."""
    if predicted and reference and not predicted & reference:
        log.warning(
            "Predictions and references have no value in common: %s and %s, so that every score is 0. %s",
            few(map(str, sorted(predicted))),
            few(map(str, sorted(reference))),
            MASK_REMEDY if 255 in predicted | reference else "Give both the same values.",
        )
