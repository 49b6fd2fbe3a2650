"""The scores of a set of label maps, as ``metrics.json`` holds them (docs/metrics.md)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer

from umseg.common.json_file import read_json
from umseg.common.record import Record, SparseRecord
from umseg.dataset.io.grid import Unit
from umseg.evaluation.metrics.metric import Better
from umseg.evaluation.schema_1 import from_schema_1

_REMEDY = "Evaluate the predictions again with `umseg evaluate`; it writes the file."


def _from_json(value: Any) -> Any:
    return math.nan if value is None else float(value) if value in ("Infinity", "-Infinity") else value


def _to_json(value: float) -> float | str | None:
    if math.isfinite(value):
        return value
    return None if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


Score = Annotated[float, BeforeValidator(_from_json), PlainSerializer(_to_json, when_used="json")]
"""A number; NaN where there is none. JSON has neither NaN nor infinity: they are ``null`` and ``"Infinity"`` there."""

Label = int | tuple[int, ...]
"""The value of a class in label maps, or the values of a region."""


class MetricRecord(Record):
    """How the scores of a metric are to be read.

    Attributes:
        title: Name in tables.
        description: What the score means and which value is perfect.
        unit: Empty for a ratio; ``mm``, ``px`` or ``mm or px``; ``ml``, ``voxels`` or ``ml or voxels``; where there are
            two, the first holds for cases whose ``unit`` is mm (and that have more than one slice, for ml).
        better: Which scores are better: higher ones, lower ones, or those nearer to zero.
    """

    title: str
    description: str
    unit: str
    better: Better


class ClassScores(Record):
    """One class in one case. Voxels that the reference does not annotate are in none of the counts.

    Attributes:
        scores: Metric to score; NaN where it is not defined (docs/metrics.md).
        TP: Voxels of the class in both label maps.
        FP: Voxels in the prediction alone.
        FN: Voxels in the reference alone.
        n_pred: Voxels in the prediction.
        n_ref: Voxels in the reference.
        volume_pred_ml: Volume in the prediction, millilitres; NaN in images of a single slice, which have none, and
            where the files do not say how large voxels are.
        volume_ref_ml: Volume in the reference, in the same way.
    """

    scores: dict[str, Score]
    TP: int
    FP: int
    FN: int
    n_pred: int
    n_ref: int
    volume_pred_ml: Score
    volume_ref_ml: Score

    @property
    def is_evaluable(self) -> bool:
        """Whether the prediction or the reference has the class."""
        return self.n_pred + self.n_ref > 0


class CaseMetrics(Record):
    """One case.

    Attributes:
        case: File name without its ending.
        shape: Voxels per axis (z, y, x).
        spacing: Size of the reference's voxels (z, y, x), in ``unit``.
        unit: ``mm``, or ``px`` where the files do not say how large voxels are (pictures, some TIFF stacks).
        scores: Metric to its mean over the foreground classes where it is finite; infinity where all scores are
            infinite, NaN where there is none.
        classes: Class name to scores, every foreground class.
        notes: What the user should know about the two label maps, e.g. that one was turned to the axes of the other.
    """

    case: str
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    unit: Unit
    scores: dict[str, Score]
    classes: dict[str, ClassScores]
    notes: tuple[str, ...] = ()

    @property
    def is_evaluable(self) -> bool:
        """Whether the prediction or the reference has any class."""
        return any(scores.is_evaluable for scores in self.classes.values())


class Description(Record):
    """Scores over cases; NaN where there are too few. Intervals are those of 95 %.

    Attributes:
        n: Number of finite scores; only these are described.
        mean: Their mean.
        sd: Their sample standard deviation (divided by n - 1).
        median: Their median.
        quartiles: Their first and third quartile.
        mean_t: Interval of the mean by Student's t.
        mean_bootstrap: Interval of the mean by the percentile bootstrap.
        median_order: Interval of the median by order statistics.
    """

    n: int
    mean: Score
    sd: Score
    median: Score
    quartiles: tuple[Score, Score]
    mean_t: tuple[Score, Score]
    mean_bootstrap: tuple[Score, Score]
    median_order: tuple[Score, Score]


ProtocolName = Literal["abdomen", "endoscopy", "microscopy", "paper"]
"""The ways of scoring by which the paper's tables were made; docs/metrics.md has them in detail."""


class ProtocolScore(Record):
    """One score over all cases, taken as the protocol says.

    Attributes:
        mean: Abdomen: the mean of the organs' means over cases. Elsewhere: the mean over cases.
        sd: Sample standard deviation over cases, of which each has the mean of its classes.
        median: Median over cases.
    """

    mean: Score
    sd: Score
    median: Score


class ProtocolScores(Record):
    """The scores of a protocol.

    Attributes:
        name: The protocol.
        published: Title of the score to what the published scripts compute, with all their peculiarities.
        corrected: The same scores without these.
    """

    name: ProtocolName
    published: dict[str, ProtocolScore]
    corrected: dict[str, ProtocolScore]


class Statistic(Record):
    """Mean and population standard deviation over the evaluable cases; NaN where there is none."""

    mean: Score
    std: Score


class ScoreStatistic(Statistic):
    """Mean and population standard deviation of the finite scores, and how many there are.

    Attributes:
        n_finite: Number of finite scores: those that the mean is taken over.
        n_infinite: Number of infinite scores, which do not enter the mean: distances to a class that only one of the
            two label maps contains. (Where all scores are infinite, so is the mean.)
    """

    n_finite: int
    n_infinite: int


class Summary(Record):
    """Scores over cases.

    Attributes:
        scores: Metric to its statistics.
        n_cases: Number of evaluable cases: those where the prediction or the reference is not empty.
        n_not_evaluable: Number of cases where both are empty; they enter no statistic.
    """

    scores: dict[str, ScoreStatistic]
    n_cases: int
    n_not_evaluable: int


class Metrics(SparseRecord):
    """The scores of a set of label maps against their references.

    Attributes:
        metrics: Every metric that was computed, in the order in which it was named.
        labels: Class name to label value, or to the values of a region; without the background.
        ignore_label: Value of the reference's voxels that nobody annotated.
        tolerance: Class name to the tolerance of surface distances, in ``unit``; empty if no metric uses it.
        unit: ``mm``, ``px``, or ``mixed``: mm in some cases, pixels in others, as each case says.
        cases: Every case, sorted by name.
        classes: Class name to its summary over cases.
        foreground_mean: For each metric, ``mean`` is the mean of the class means (docs/rules.md, Evaluation); ``std``
            is taken over the cases' means over classes; ``n_finite`` and ``n_infinite`` are sums over classes.
        weights: Hash of the weights that made the label maps, where a fold was validated; None elsewhere.
        missing: Reference cases without a prediction.
        missing_rule: Whether these were left out (skip) or scored as if nothing had been predicted (zero).
        surplus: Predictions without a reference, which were left out.
        over_cases: Each metric over the cases, of which each has the mean of its classes.
        protocol: The scores of the protocol, where one was chosen.
    """

    sparse = ("weights", "missing", "missing_rule", "surplus", "over_cases", "protocol")

    schema_version: Literal[2] = 2
    metrics: dict[str, MetricRecord] = Field(min_length=1)
    labels: dict[str, Label] = Field(min_length=1)
    ignore_label: int | None = None
    tolerance: dict[str, float]
    unit: Unit | Literal["mixed"]
    cases: tuple[CaseMetrics, ...] = Field(min_length=1)
    classes: dict[str, Summary]
    foreground_mean: Summary
    weights: str | None = None
    missing: tuple[str, ...] = ()
    missing_rule: Literal["skip", "zero"] = "skip"
    surplus: tuple[str, ...] = ()
    over_cases: dict[str, Description] = Field(default_factory=dict)
    protocol: ProtocolScores | None = None

    @property
    def main_score(self) -> tuple[str, float]:
        """The title and the value of the score that a model is judged by: the mean DSC, or the first metric."""
        key = "dsc" if "dsc" in self.metrics else next(iter(self.metrics))
        return self.metrics[key].title, self.foreground_mean.scores[key].mean


class InstanceScores(Record):
    """How well single objects are found.

    Attributes:
        TP: Objects of the prediction that are matched with one of the reference.
        FP: Objects of the prediction alone.
        FN: Objects of the reference alone.
        precision: TP / (TP + FP); NaN where the prediction has no object.
        recall: TP / (TP + FN); NaN where the reference has no object.
        F1: 2 TP / (2 TP + FP + FN); NaN where neither label map has an object.
    """

    TP: int
    FP: int
    FN: int
    precision: Score
    recall: Score
    F1: Score


class ThresholdScores(Record):
    """How well single objects are found and outlined, at one threshold of the intersection over union (IoU).

    Attributes:
        threshold: Smallest IoU of two objects that match.
        TP: As in :class:`InstanceScores`, and so are FP, FN and F1.
        AP: TP / (TP + FP + FN), the average precision of StarDist and Cellpose; NaN where neither map has an object.
        SQ: Segmentation quality, the mean IoU of the matched objects; NaN where there is none.
        PQ: Panoptic quality, SQ times F1 (the recognition quality); NaN where neither map has an object.
    """

    threshold: float
    TP: int
    FP: int
    FN: int
    F1: Score
    AP: Score
    SQ: Score
    PQ: Score


class ThresholdSummary(Record):
    """The scores at one threshold over the cases.

    Attributes:
        threshold: Smallest IoU of two objects that match.
        F1: Statistics over the evaluable cases, and so are AP and PQ.
        total: Scores of the objects of all cases counted together.
    """

    threshold: float
    F1: Statistic
    AP: Statistic
    PQ: Statistic
    total: ThresholdScores


class PublishedObjects(InstanceScores):
    """How well single objects are found, as the published script of the cells counts and rounds (docs/metrics.md).

    Attributes:
        Dice: DSC of all objects as one mask; 1 where both label maps are empty.
    """

    Dice: Score


class InstanceCase(SparseRecord):
    """One case of an instance task.

    Attributes:
        case: File name without its ending.
        shape: Voxels per axis (z, y, x).
        spacing: Size of the reference's voxels (z, y, x), in ``unit``.
        unit: ``mm``, or ``px`` where the files do not say how large voxels are (pictures, some TIFF stacks).
        objects: The scores of its objects.
        Dice: DSC of all objects as one mask against all objects of the reference as another; NaN where both are empty.
        notes: As in :class:`CaseMetrics`.
        thresholds: The scores of its objects at each threshold that was asked for; files of earlier versions have none.
        published: The scores of the published script, by the protocol ``microscopy``.
    """

    sparse = ("thresholds", "published")

    case: str
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    unit: Unit
    objects: InstanceScores
    Dice: Score
    notes: tuple[str, ...] = ()
    thresholds: tuple[ThresholdScores, ...] = ()
    published: PublishedObjects | None = None


class InstanceMetrics(SparseRecord):
    """The scores of a set of instance maps against their references.

    Attributes:
        object_name: Name of the objects' class.
        threshold: Smallest intersection over union (IoU) of two objects that match.
        border: Width in voxels of the frame along the edges of the image; objects that reach into it are left out.
        cases: Every case, sorted by name.
        F1: Statistics over the evaluable cases.
        precision: Statistics over the cases where the prediction has an object.
        recall: Statistics over the cases where the reference has an object.
        Dice: Statistics over the evaluable cases.
        n_cases: Number of evaluable cases: those where the prediction or the reference has an object.
        n_not_evaluable: Number of cases where neither has one; they enter no statistic.
        total: Scores of the objects of all cases counted together.
        weights: Hash of the weights that made the label maps, where a fold was validated; None elsewhere.
        missing: Reference cases without a prediction.
        missing_rule: Whether these were left out (skip) or scored as if nothing had been predicted (zero).
        surplus: Predictions without a reference, which were left out.
        over_cases: F1, precision, recall and DSC over the cases.
        thresholds: The scores at each threshold that was asked for, the first of which is ``threshold``.
        protocol: The scores of the protocol, where one was chosen.
    """

    sparse = ("weights", "missing", "missing_rule", "surplus", "over_cases", "protocol", "thresholds")

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
    weights: str | None = None
    missing: tuple[str, ...] = ()
    missing_rule: Literal["skip", "zero"] = "skip"
    surplus: tuple[str, ...] = ()
    over_cases: dict[str, Description] = Field(default_factory=dict)
    thresholds: tuple[ThresholdSummary, ...] = ()
    protocol: ProtocolScores | None = None

    @property
    def main_score(self) -> tuple[str, float]:
        """The title and the value of the score that a model is judged by: the mean F1 of the objects."""
        return "F1", self.F1.mean


def load_metrics(path: Path, remedy: str = _REMEDY) -> Metrics | InstanceMetrics:
    """Read ``metrics.json``, also of earlier versions.

    Args:
        path: The file.
        remedy: What the user can do when the file is missing or damaged.

    Raises:
        UserError: The file is missing or does not fit the schema.
    """
    content = read_json(path, remedy)
    if isinstance(content, dict) and content.get("task") == "instance":
        return InstanceMetrics.from_json(content, path, remedy)
    if isinstance(content, dict) and content.get("schema_version") == 1:
        content = from_schema_1(content)
    return Metrics.from_json(content, path, remedy)
