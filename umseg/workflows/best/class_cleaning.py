"""The choice of post-processing for classes, on validation data alone (docs/rules.md, Ensembles)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from umseg.common.processes.parallel import map_cases
from umseg.dataset.description import DatasetDescription
from umseg.evaluation import Pair
from umseg.inference.postprocessing.classes import ClassCleaning, ClassRule, components
from umseg.workflows.best.components import (
    Components,
    Maps,
    class_components,
    dice_of,
    foreground_components,
    read_maps,
)

LEAST_GAIN = 1e-4
"""Smallest gain in mean DSC for which a label map is changed: what the last digit of a table shows."""

QUANTILES = (0.0, 0.01, 0.05)
"""Fractions of the reference components that are smaller than a candidate for the smallest component that is kept."""

Keep = Callable[[NDArray[np.float64]], NDArray[np.bool_]]
ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class Choice:
    """What was chosen, and what it gains.

    Attributes:
        cleaning: The cleaning.
        before: Mean DSC of each class without it; NaN for a class that no case has.
        after: Mean DSC of each class with it.
    """

    cleaning: ClassCleaning
    before: dict[str, float]
    after: dict[str, float]


def choose_class_cleaning(
    pairs: Sequence[Pair], description: DatasetDescription, *, workers: int = 0, quiet: bool = False
) -> Choice:
    """Choose the post-processing with the highest mean DSC on validation cases.

    First, only the largest component of all classes together is kept if that raises the mean over classes and lowers
    the DSC of no class. Then each class by itself gets the rule that raises its DSC most, the gentlest of equal ones:
    nothing, a smallest volume, or its largest component alone; at last its holes are filled if that raises it further.
    Regions overlap, so that for them only the first step is tried.

    Args:
        pairs: Label maps without post-processing, and their references; at least one.
        description: The classes.
        workers: Number of processes; 0 works in this one.
        quiet: Whether to show no progress bars.

    Raises:
        UserError: A file is unreadable, or the label maps of a case differ in shape.
    """

    def over_cases(work: Callable[[Pair], ResultT], title: str) -> list[ResultT]:
        return list(map_cases(work, pairs, [pair.case for pair in pairs], workers=workers, title=title, quiet=quiet))

    ignore, names = description.ignore_label, list(description.regions)
    foreground = over_cases(
        partial(_foreground, values=list(description.regions.values()), ignore=ignore), "Measuring foreground"
    )
    before = _means([case.dice(_all) for case in foreground])
    largest = _means([case.dice(_largest) for case in foreground])
    only_largest = bool(np.nanmean(largest) >= np.nanmean(before) + LEAST_GAIN) and not (largest < before).any()
    cleaning, after = ClassCleaning(largest_foreground=only_largest), largest if only_largest else before
    if not description.has_regions:
        values = description.foreground
        measure = partial(_classes, values=values, cleaning=cleaning, ignore=ignore)
        cases = over_cases(measure, "Measuring components")
        rules = {name: best_rule([case[name] for case in cases]) for name in names}
        unfilled = cleaning.model_copy(update={"classes": rules})
        filled = cleaning.model_copy(update={"classes": _with_holes_filled(rules)})
        score = partial(_scores, values=values, cleanings=(unfilled, filled), ignore=ignore)
        plain, full = (_means(scores) for scores in zip(*over_cases(score, "Filling holes"), strict=True))
        better = full >= plain + LEAST_GAIN
        rules = {
            name: rule.model_copy(update={"fill_holes": bool(fill)})
            for (name, rule), fill in zip(rules.items(), better, strict=True)
        }
        cleaning = cleaning.model_copy(
            update={"classes": {name: rule for name, rule in rules.items() if not rule.changes_nothing}}
        )
        after = np.where(better, full, plain)
    return Choice(
        cleaning, dict(zip(names, before.tolist(), strict=True)), dict(zip(names, after.tolist(), strict=True))
    )


def best_rule(cases: Sequence[tuple[Components, NDArray[np.float64]]]) -> ClassRule:
    """The rule for one class, by its predicted components and the volumes of its reference components in each case."""
    references = np.concatenate([volumes for _, volumes in cases])
    candidates: list[tuple[ClassRule, Keep]] = [(ClassRule(), _all)]
    candidates += [(ClassRule(smallest=size), partial(_at_least, size)) for size in candidate_volumes(references)]
    candidates += [(ClassRule(largest=True), _largest)]
    means = [float(_means([found.dice(keep) for found, _ in cases])[0]) for _, keep in candidates]
    if np.isnan(means).all():
        return ClassRule()
    best = int(np.nanargmax(np.round(means, 9)))
    return candidates[best][0] if means[best] >= means[0] + LEAST_GAIN else ClassRule()


def candidate_volumes(references: NDArray[np.float64]) -> tuple[float, ...]:
    """Volumes that the smallest component may be required to have, in ascending order, without 0.

    They are half of the smallest reference component, its volume, and volumes that only a few reference components do
    not reach (``QUANTILES``): what is smaller is rather a speck than an organ.

    Args:
        references: Volume of every reference component, mm³; may be empty.
    """
    if not references.size:
        return ()
    quantiles = np.quantile(references, QUANTILES)
    return tuple(sorted({round(float(volume), 3) for volume in (quantiles[0] / 2, *quantiles)} - {0.0}))


def _all(volumes: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.ones(volumes.shape, dtype=np.bool_)


def _largest(volumes: NDArray[np.float64]) -> NDArray[np.bool_]:
    largest: NDArray[np.bool_] = volumes == volumes.max(initial=0)
    return largest


def _at_least(smallest: float, volumes: NDArray[np.float64]) -> NDArray[np.bool_]:
    return volumes >= smallest


def _with_holes_filled(rules: Mapping[str, ClassRule]) -> dict[str, ClassRule]:
    return {name: rule.model_copy(update={"fill_holes": True}) for name, rule in rules.items()}


def _by_name(names: Sequence[str], scores: NDArray[np.float64]) -> dict[str, float]:
    return dict(zip(names, scores.tolist(), strict=True))


def _means(scores: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """The mean of each class over the cases that have it; NaN where none has."""
    table = np.stack(scores)
    counted = (~np.isnan(table)).sum(axis=0)
    return np.where(counted > 0, np.nansum(table, axis=0) / np.maximum(counted, 1), np.nan)


def _foreground(pair: Pair, values: Sequence[Sequence[int]], ignore: int | None) -> Components:
    return foreground_components(read_maps(pair, ignore), values)


def _classes(
    pair: Pair, values: Mapping[str, int], cleaning: ClassCleaning, ignore: int | None
) -> dict[str, tuple[Components, NDArray[np.float64]]]:
    """The predicted components of each class after a cleaning, and the volumes of those in the reference."""
    maps = read_maps(pair, ignore)
    cleaned = Maps(cleaning.apply(maps.prediction, values, maps.spacing), maps.reference, maps.known, maps.spacing)
    voxel = float(np.prod(maps.spacing))
    return {
        name: (found, (components(maps.reference == values[name])[1][1:] * voxel).astype(np.float64))
        for name, found in class_components(cleaned, values).items()
    }


def _scores(
    pair: Pair, values: Mapping[str, int], cleanings: Sequence[ClassCleaning], ignore: int | None
) -> list[NDArray[np.float64]]:
    """The DSC of each class after each cleaning."""
    maps = read_maps(pair, ignore)
    found = []
    for cleaning in cleanings:
        cleaned = cleaning.apply(maps.prediction, values, maps.spacing)
        known = cleaned if maps.known is None else np.where(maps.known, cleaned, 0)
        length = max(int(cleaned.max(initial=0)), int(maps.reference.max(initial=0)), *values.values()) + 1
        same = known[known == maps.reference]
        counts = [np.bincount(array.reshape(-1), minlength=length) for array in (known, maps.reference, same)]
        found.append(dice_of(*(count[list(values.values())] for count in counts)))
    return found
