"""``metrics.json``: the scores of a set of label maps."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer

from umseg.common.record import Record


def _from_null(value: Any) -> Any:
    return math.nan if value is None else value


def _to_null(value: float) -> float | None:
    return value if math.isfinite(value) else None


Score = Annotated[float, BeforeValidator(_from_null), PlainSerializer(_to_null, when_used="json")]
"""A number, or NaN where there is none; NaN is ``null`` in JSON, which knows no NaN."""


class ClassScores(Record):
    """One class in one case.

    Attributes:
        Dice: Dice similarity coefficient (DSC); NaN where neither label map has the class.
        NSD: Normalised surface Dice; NaN where neither label map has the class.
        TP: Voxels of the class in both label maps.
        FP: Voxels in the prediction alone.
        FN: Voxels in the reference alone.
        n_pred: Voxels in the prediction.
        n_ref: Voxels in the reference.
        volume_pred_ml: Volume in the prediction, millilitres; NaN in images of a single slice, which have none.
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
        spacing: mm per voxel (z, y, x) of the reference.
        Dice: Mean over the foreground classes that the case has; NaN where it has none.
        NSD: The same of the normalised surface Dice.
        classes: Class name to scores, every foreground class.
    """

    case: str
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
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
        labels: Class name to label value, without the background.
        tolerance: Class name to the tolerance of its NSD, in ``unit``.
        unit: ``mm``, or ``px`` for images without a physical size (PNG, TIFF, ...).
        cases: Every case, sorted by name.
        classes: Class name to its summary over cases.
        foreground_mean: ``mean`` is the mean of the class means (facts 1.15); ``std`` is taken over the cases'
            means over classes.
    """

    schema_version: Literal[1] = 1
    labels: dict[str, int] = Field(min_length=1)
    tolerance: dict[str, float]
    unit: Literal["mm", "px"]
    cases: tuple[CaseMetrics, ...] = Field(min_length=1)
    classes: dict[str, Summary]
    foreground_mean: Summary


def load_metrics(path: Path) -> Metrics:
    """Read ``metrics.json``.

    Raises:
        UserError: The file is missing or does not fit the schema.
    """
    return Metrics.load(path, "Evaluate the predictions again with `umseg evaluate`; it writes the file.")
