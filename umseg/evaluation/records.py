"""``metrics.json``: the scores of a set of label maps."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer

from umseg.common.record import Record, read_json
from umseg.dataset.io.grid import Unit

_REMEDY = "Evaluate the predictions again with `umseg evaluate`; it writes the file."


def _from_null(value: Any) -> Any:
    return math.nan if value is None else value


def _to_null(value: float) -> float | None:
    return value if math.isfinite(value) else None


Score = Annotated[float, BeforeValidator(_from_null), PlainSerializer(_to_null, when_used="json")]
"""A number, or NaN where there is none; NaN is ``null`` in JSON, which knows no NaN."""

Label = int | tuple[int, ...]
"""The value of a class in label maps, or the values of a region."""


class ClassScores(Record):
    """One class in one case. Voxels that the reference does not annotate are in none of the counts.

    Attributes:
        Dice: Dice similarity coefficient (DSC); NaN where neither label map has the class.
        NSD: Normalised surface Dice; NaN where neither label map has the class.
        TP: Voxels of the class in both label maps.
        FP: Voxels in the prediction alone.
        FN: Voxels in the reference alone.
        n_pred: Voxels in the prediction.
        n_ref: Voxels in the reference.
        volume_pred_ml: Volume in the prediction, millilitres; NaN in images of a single slice, which have none, and
            where the files do not say how large voxels are.
        volume_ref_ml: Volume in the reference, in the same way.
    """

    Dice: Score
    NSD: Score
    TP: int
    FP: int
    FN: int
    n_pred: int
    n_ref: int
    volume_pred_ml: Score
    volume_ref_ml: Score


class CaseMetrics(Record):
    """One case.

    Attributes:
        case: File name without its ending.
        shape: Voxels per axis (z, y, x).
        spacing: Of the reference's voxels (z, y, x), in ``unit``.
        unit: ``mm``, or ``px`` where the files do not say how large voxels are (pictures, some TIFF stacks).
        Dice: Mean over the foreground classes that the case has; NaN where it has none.
        NSD: The same of the normalised surface Dice.
        classes: Class name to scores, every foreground class.
    """

    case: str
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    unit: Unit
    Dice: Score
    NSD: Score
    classes: dict[str, ClassScores]


class Statistic(Record):
    """Mean and population standard deviation over the evaluable cases; NaN where there is none."""

    mean: Score
    std: Score


class Summary(Record):
    """Scores over cases.

    Attributes:
        Dice: Statistics of the Dice similarity coefficient.
        NSD: Statistics of the normalised surface Dice.
        n_cases: Number of evaluable cases: those where the prediction or the reference is not empty.
        n_not_evaluable: Number of cases where both are empty; they enter no statistic.
    """

    Dice: Statistic
    NSD: Statistic
    n_cases: int
    n_not_evaluable: int


class Metrics(Record):
    """The scores of a set of label maps against their references.

    Attributes:
        labels: Class name to label value, or to the values of a region; without the background.
        ignore_label: Value of the reference's voxels that nobody annotated.
        tolerance: Class name to the tolerance of its NSD, in ``unit``.
        unit: ``mm``, ``px``, or ``mixed``: mm in some cases, pixels in others, as each case says.
        cases: Every case, sorted by name.
        classes: Class name to its summary over cases.
        foreground_mean: ``mean`` is the mean of the class means (docs/rules.md, Evaluation); ``std`` is taken over the
            cases' means over classes.
    """

    schema_version: Literal[1] = 1
    labels: dict[str, Label] = Field(min_length=1)
    ignore_label: int | None = None
    tolerance: dict[str, float]
    unit: Unit | Literal["mixed"]
    cases: tuple[CaseMetrics, ...] = Field(min_length=1)
    classes: dict[str, Summary]
    foreground_mean: Summary


class InstanceScores(Record):
    """How well single objects are found.

    Attributes:
        TP: Objects of the prediction that are matched with one of the reference.
        FP: Objects of the prediction alone.
        FN: Objects of the reference alone.
        precision: TP / (TP + FP); NaN where nothing was predicted.
        recall: TP / (TP + FN); NaN where there was nothing to find.
        F1: 2 TP / (2 TP + FP + FN); NaN where neither label map has an object.
    """

    TP: int
    FP: int
    FN: int
    precision: Score
    recall: Score
    F1: Score


class InstanceCase(Record):
    """One case of an instance task.

    Attributes:
        case: File name without its ending.
        shape: Voxels per axis (z, y, x).
        spacing: Of the reference's voxels (z, y, x), in ``unit``.
        unit: ``mm``, or ``px`` where the files do not say how large voxels are.
        objects: The scores of its objects.
        Dice: Of all objects together against all objects of the reference, as two masks; NaN where both are empty.
    """

    case: str
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    unit: Unit
    objects: InstanceScores
    Dice: Score


class InstanceMetrics(Record):
    """The scores of a set of instance maps against their references.

    Attributes:
        object_name: What the objects are.
        threshold: Intersection over union (IoU) from which two objects match.
        border: Objects that reach into so many voxels along the edge of the image are left out.
        cases: Every case, sorted by name.
        F1: Statistics over the evaluable cases.
        precision: The same, over the cases where something was predicted.
        recall: The same, over the cases where there was something to find.
        Dice: As F1.
        n_cases: Number of evaluable cases: those where the prediction or the reference has an object.
        n_not_evaluable: Number of cases where neither has one; they enter no statistic.
        total: The objects of all cases counted together.
    """

    schema_version: Literal[1] = 1
    task: Literal["instance"] = "instance"
    object_name: str
    threshold: float
    border: int
    cases: tuple[InstanceCase, ...] = Field(min_length=1)
    F1: Statistic
    precision: Statistic
    recall: Statistic
    Dice: Statistic
    n_cases: int
    n_not_evaluable: int
    total: InstanceScores


def load_metrics(path: Path) -> Metrics | InstanceMetrics:
    """Read ``metrics.json``.

    Raises:
        UserError: The file is missing or does not fit the schema.
    """
    content = read_json(path, _REMEDY)
    instances = isinstance(content, dict) and content.get("task") == "instance"
    return (InstanceMetrics if instances else Metrics).from_json(content, path, _REMEDY)
