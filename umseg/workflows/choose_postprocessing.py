"""The choice of a fold's post-processing: the smallest size and hole filling with the highest F1 in its validation."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.common.processes.parallel import map_cases
from umseg.common.text import counted
from umseg.dataset.io.images import read_label, write_label
from umseg.evaluation import Pair, instance_f1
from umseg.evaluation.instance_pairs import IOU, read_instances
from umseg.inference.postprocessing.instances import Postprocessing, described
from umseg.preprocess.instance_cleaning import Cleaning, fill_object_holes, remove_small_objects

QUANTILES = (0.0, 0.01, 0.05)
"""Fractions of the reference objects that are smaller than a candidate for the smallest object that is kept."""


def choose_postprocessing(pairs: Sequence[Pair], *, workers: int = 0, quiet: bool = False) -> Postprocessing:
    """Choose the cleaning with the highest mean F1 of objects, the gentlest of several.

    Args:
        pairs: Label maps without cleaning, and references; at least one.
        workers: Number of processes; 0 works in this one.
        quiet: Whether to show no progress bars.

    Raises:
        UserError: A file is unreadable; two files differ in shape or spacing; a value is negative.
    """
    names = [pair.case for pair in pairs]
    sizes = map_cases(_reference_sizes, pairs, names, workers=workers, title="Measuring reference objects", quiet=quiet)
    candidates = cleanings(candidate_sizes(np.concatenate(list(sizes))))
    score = functools.partial(_scores, candidates=candidates)
    scores = map_cases(score, pairs, names, workers=workers, title="Choosing post-processing", quiet=quiet)
    means = [_mean(column) for column in zip(*scores, strict=True)]
    best = best_of(means)
    return Postprocessing(**candidates[best].model_dump(), cases=len(pairs), F1_before=means[0], F1_after=means[best])


def choice_message(chosen: Postprocessing) -> str:
    """What was chosen and what it gains, as one line."""
    cases = counted(chosen.cases, "validation case")
    if chosen.changes_nothing:
        return f"Post-processing: none; neither a smallest size nor hole filling raises F1 on {cases}."
    before, after = ("-" if mean is None else f"{mean:.3f}" for mean in (chosen.F1_before, chosen.F1_after))
    return f"Post-processing: {described(chosen)}. This raises F1 from {before} to {after} on {cases}."


def clean_files(paths: Sequence[Path], cleaning: Cleaning) -> None:
    """Clean the label maps of objects in these files, each of which is replaced as a whole.

    Raises:
        UserError: A file cannot be read or written.
    """
    if cleaning.changes_nothing:
        return
    for path in paths:
        label = read_label(path)
        write_label(path, cleaning.apply(label.array), label.geometry)


def candidate_sizes(reference_sizes: NDArray[np.integer[Any]]) -> tuple[int, ...]:
    """Sizes that the smallest object may be required to have, in ascending order and without 0.

    They are half the size of the smallest reference object, its size, and sizes that only a few reference objects do
    not reach (``QUANTILES``): what is smaller is rather a speck than an object.

    Args:
        reference_sizes: Voxels of every reference object; may be empty.
    """
    if not reference_sizes.size:
        return ()
    quantiles = np.quantile(reference_sizes, QUANTILES)
    sizes = {int(size) for size in (quantiles[0] / 2, *quantiles)}
    return tuple(sorted(size for size in sizes if size > 1))


def cleanings(sizes: Sequence[int]) -> tuple[Cleaning, ...]:
    """The cleanings to compare, each more of an intervention than those before it; the first changes nothing."""
    return tuple(
        Cleaning(smallest=smallest, fill_holes=fill) for smallest, fill in itertools.product((0, *sizes), (False, True))
    )


def best_of(means: Sequence[float | None]) -> int:
    """The index of the highest mean, the first of equal ones (rounding apart); None counts as the lowest."""
    values = [-math.inf if mean is None else mean for mean in means]
    highest = max(values)
    return next(index for index, value in enumerate(values) if value >= highest - 1e-9)


def _reference_sizes(pair: Pair) -> NDArray[np.intp]:
    reference = read_label(pair.reference).array
    sizes: NDArray[np.intp] = np.unique(reference[reference > 0], return_counts=True)[1]
    return sizes


def _scores(pair: Pair, candidates: Sequence[Cleaning]) -> list[float]:
    """The F1 of a case after each cleaning."""
    maps = read_instances(pair)
    found: dict[tuple[int, bool], float] = {}
    scores = []
    for candidate in candidates:
        cleaned = remove_small_objects(maps.prediction, candidate.smallest)
        # Most sizes remove the same objects, which shows in their number.
        key = int(cleaned.max(initial=0)), candidate.fill_holes
        if key not in found:
            filled = fill_object_holes(cleaned) if candidate.fill_holes else cleaned
            found[key] = instance_f1(filled, maps.reference, IOU).F1
        scores.append(found[key])
    return scores


def _mean(scores: Sequence[float]) -> float | None:
    """The mean over the cases that have one."""
    numbers = [score for score in scores if not math.isnan(score)]
    return float(np.mean(numbers)) if numbers else None
