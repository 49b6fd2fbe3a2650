"""The methods that are compared, and the scores that they have on the same cases."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.common.text import few
from umseg.evaluation.metrics.metric import Better
from umseg.evaluation.records import InstanceMetrics, Metrics, load_metrics
from umseg.evaluation.statistics.intervals import Values
from umseg.workspace import METRICS, FoldFolder, ModelFolder

log = logging.getLogger(__name__)

_REMEDY = "Give the folder or the metrics.json that `umseg evaluate` or `umseg train` wrote."
_INSTANCE = {"f1": "F1", "precision": "precision", "recall": "recall", "dsc": "DSC"}


@dataclass(frozen=True)
class Quantity:
    """One score of every case, for all methods.

    Attributes:
        key: Name of the metric.
        class_name: The class; None: each case has the mean over its classes.
        title: Name of the metric in tables, with its unit.
        better: Which scores are better.
        scores: For each method (seeds, cases); cases in the order of ``Methods.cases``.
    """

    key: str
    class_name: str | None
    title: str
    better: Better
    scores: tuple[Values, ...]

    @property
    def finite(self) -> NDArray[np.bool_]:
        """Which cases have a finite score by every method and seed, (cases,)."""
        finite: NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(np.concatenate(self.scores)), axis=0)
        return finite

    @property
    def merit(self) -> tuple[Values, ...]:
        """The scores with a sign by which higher is better."""
        if self.better == "higher":
            return self.scores
        return tuple(-(scores if self.better == "lower" else np.abs(scores)) for scores in self.scores)


@dataclass(frozen=True)
class Methods:
    """What is compared.

    Attributes:
        names: The methods.
        seeds: How many trainings each has.
        cases: The cases that all of them have, sorted.
        left_out: Cases that only some have.
        quantities: The scores.
    """

    names: tuple[str, ...]
    seeds: tuple[int, ...]
    cases: tuple[str, ...]
    left_out: tuple[str, ...]
    quantities: tuple[Quantity, ...]


def read_methods(arguments: Sequence[str], *, by_class: bool = False, only_common: bool = False) -> Methods:
    """Read the scores of at least two methods.

    Args:
        arguments: For each method ``PLACE``, ``NAME=PLACE`` or, for several trainings, ``NAME=PLACE,PLACE``. A place
            is a ``metrics.json``, a folder with one, a fold, or a model folder, whose folds count together.
        by_class: Whether the scores of each class are quantities, too.
        only_common: Whether cases that not all methods have are left out.

    Raises:
        UserError: There are fewer than two methods, two have the same name, a file is missing or damaged, or they do
            not have the same cases and metrics, or were scored by different rules.
    """
    methods = [_parse(argument) for argument in arguments]
    names = [name for name, _ in methods]
    if len(methods) < 2 or len(set(names)) < len(names):
        raise UserError(
            "There are not two methods to compare.",
            found=", ".join(names) or "none",
            expected="at least two methods with different names",
            remedy="Name at least two places, as in `umseg compare A B`; NAME=PLACE gives a method another name.",
        )
    tables = [[_read(place, by_class) for place in places] for _, places in methods]
    every = [(name, table) for name, several in zip(names, tables, strict=True) for table in several]
    _refuse_other_rules(every)
    cases, left_out = _common_cases(every, only_common)
    keys = _common_quantities(every)
    quantities = []
    for key in keys:
        first = tables[0][0].columns[key]
        scores = tuple(
            np.array([[table.columns[key].by_case.get(case, math.nan) for case in cases] for table in several])
            for several in tables
        )
        quantities.append(Quantity(*key, first.title, first.better, scores))
    return Methods(tuple(names), tuple(map(len, tables)), cases, left_out, tuple(quantities))


@dataclass(frozen=True)
class _Column:
    title: str
    better: Better
    by_case: Mapping[str, float]


_Key = tuple[str, str | None]
"""A metric, and a class or the mean over classes."""


@dataclass(frozen=True)
class _Table:
    """The scores of one training.

    Attributes:
        place: Where they stand.
        cases: Names of the cases.
        columns: The scores by metric and class.
        rules: How the cases were scored, by the name of the rule; rules that do not apply are left out.
    """

    place: Path
    cases: frozenset[str]
    columns: Mapping[_Key, _Column]
    rules: Mapping[str, str]


def _parse(argument: str) -> tuple[str, list[Path]]:
    """The name of a method, and its places."""
    name, sign, rest = argument.partition("=")
    if not sign or Path(argument).exists():
        place = Path(argument)
        return _default_name(place), [place]
    places = [Path(text) for text in rest.split(",") if text]
    if not name or not places:
        raise UserError(
            "A method is not given as NAME=PLACE.",
            found=argument,
            expected="a name and at least one place",
            remedy="Write for example nnunet=predictions/nnunet, or nnunet=seed0,seed1 for several trainings.",
        )
    return name, places


def _default_name(place: Path) -> str:
    """The name of the folder, or of that which says most: a file is named by its folder, a fold by its model."""
    folder = place.absolute().parent if place.name == METRICS else place.absolute()
    fold = FoldFolder(folder.parent if folder.name == "validation" else folder)
    return f"{fold.models.path.name}/{fold.path.name}" if fold.models.card_file.is_file() else folder.name


def _read(place: Path, by_class: bool) -> _Table:
    files = _files(place)
    tables = [_of(load_metrics(file, _REMEDY), file, by_class) for file in files]
    _refuse_other_rules([(table.place.parent.parent.name, table) for table in tables])
    merged = tables[0]
    for table in tables[1:]:
        again = merged.cases & table.cases
        if again:
            raise UserError(
                "Two folds have scores of the same case.",
                file=table.place,
                found=few(sorted(again)),
                remedy="Compare folds one by one, as in `umseg compare A/fold_0 B/fold_0`.",
            )
        columns = {
            key: _Column(column.title, column.better, {**column.by_case, **table.columns[key].by_case})
            for key, column in merged.columns.items()
            if key in table.columns
        }
        merged = _Table(place, merged.cases | table.cases, columns, merged.rules)
    return merged


def _files(place: Path) -> list[Path]:
    """The files of scores that a place stands for."""
    if place.is_file():
        return [place]
    fold = FoldFolder(place)
    for file in (place / METRICS, fold.metrics_file):
        if file.is_file():
            return [file]
    found = [fold.metrics_file for fold in ModelFolder(place).folds() if fold.metrics_file.is_file()]
    if found:
        return found
    raise UserError(
        "There are no scores.",
        file=place,
        found="no such file or folder" if not place.exists() else "no metrics.json, neither here nor of a fold",
        remedy=_REMEDY,
    )


def _of(metrics: Metrics | InstanceMetrics, file: Path, by_class: bool) -> _Table:
    cases = frozenset(case.case for case in metrics.cases)
    if isinstance(metrics, InstanceMetrics):
        return _Table(file, cases, _object_columns(metrics), _rules(metrics))
    columns: dict[_Key, _Column] = {}
    for key, metric in metrics.metrics.items():
        title = f"{metric.title} ({metric.unit})" if metric.unit else metric.title
        columns[key, None] = _Column(title, metric.better, {case.case: case.scores[key] for case in metrics.cases})
        for name in metrics.classes if by_class else ():
            of = {case.case: case.classes[name].scores[key] for case in metrics.cases}
            columns[key, name] = _Column(title, metric.better, of)
    return _Table(file, cases, columns, _rules(metrics))


def _object_columns(metrics: InstanceMetrics) -> dict[_Key, _Column]:
    columns: dict[_Key, _Column] = {}
    for key, title in _INSTANCE.items():
        values = {
            case.case: case.Dice if key == "dsc" else float(getattr(case.objects, title)) for case in metrics.cases
        }
        columns[key, None] = _Column(title, "higher", values)
    for key, title in _INSTANCE.items() if metrics.protocol is not None else ():
        field = "Dice" if key == "dsc" else title
        published = {case.case: float(getattr(case.published, field, math.nan)) for case in metrics.cases}
        columns[f"{key}_published", None] = _Column(f"{title} published", "higher", published)
    return columns


def _rules(metrics: Metrics | InstanceMetrics) -> dict[str, str]:
    """The rules by which scores were made, as far as they change them."""
    rules: dict[str, str] = {"protocol": "none" if metrics.protocol is None else metrics.protocol.name}
    if isinstance(metrics, InstanceMetrics):
        return {**rules, "kind": "objects", "IoU": f"{metrics.threshold:g}", "border": f"{metrics.border}"}
    values = sorted(label if isinstance(label, tuple) else (label,) for label in metrics.labels.values())
    rules |= {"kind": "classes", "labels": ", ".join("+".join(map(str, value)) for value in values)}
    rules |= {"ignore label": str(metrics.ignore_label), "unit": metrics.unit}
    if metrics.tolerance:
        rules["tolerance of the NSD"] = ", ".join(f"{name} {value:g}" for name, value in metrics.tolerance.items())
    return rules


def _refuse_other_rules(tables: Sequence[tuple[str, _Table]]) -> None:
    """Raise a UserError if two tables of scores were made by different rules: their difference is not the methods'."""
    (first_name, first), *others = tables
    for name, table in others:
        for rule in first.rules.keys() & table.rules.keys():
            if first.rules[rule] != table.rules[rule]:
                raise UserError(
                    "The methods were not scored by the same rules.",
                    file=table.place,
                    found=f"{name}: {rule} {table.rules[rule]}",
                    expected=f"{rule} {first.rules[rule]}, as {first_name} ({first.place})",
                    remedy="Score all of them with the same options of `umseg evaluate`.",
                )


def _common_cases(tables: Sequence[tuple[str, _Table]], only_common: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    every = frozenset[str]().union(*(table.cases for _, table in tables))
    common = every.intersection(*(table.cases for _, table in tables))
    missing = sorted(every - common)
    if missing and (not only_common or not common):
        name, table = next((name, table) for name, table in tables if table.cases != every)
        raise UserError(
            "The methods were not scored on the same cases." if common else "The methods have no case in common.",
            file=table.place,
            found=f"{name} has no scores of {few(sorted(every - table.cases))}",
            expected=f"{len(every)} cases",
            remedy="Score all methods on the same cases; --only-common compares those that all have."
            if common
            else "Check that these are scores of the same data.",
        )
    if missing:
        log.warning(
            "Left out, because not all methods have them: %d of %d cases: %s", len(missing), len(every), few(missing)
        )
    return tuple(sorted(common)), tuple(missing)


def _common_quantities(tables: Sequence[tuple[str, _Table]]) -> list[_Key]:
    """The quantities that all methods have, in the order of the first; others are told."""
    keys = [key for key in tables[0][1].columns if all(key in table.columns for _, table in tables)]
    if not keys:
        raise UserError(
            "The methods have no metric in common.",
            file=tables[1][1].place,
            found=few(map(_named, tables[1][1].columns)),
            expected=few(map(_named, tables[0][1].columns)),
            remedy="Score all of them with the same `umseg evaluate --metrics`.",
        )
    others = {_named(key) for _, table in tables for key in table.columns if key not in keys}
    if others:
        log.warning("Left out, because not all methods have them: %s", few(sorted(others)))
    return keys


def _named(key: _Key) -> str:
    metric, class_name = key
    return metric if class_name is None else f"{metric} of {class_name}"
