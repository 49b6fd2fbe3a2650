"""The description of scores over cases."""

from __future__ import annotations

import numpy as np

from umseg.common.record import Record
from umseg.evaluation.records import Score
from umseg.evaluation.statistics.intervals import Values, bootstrap_interval, mean_interval, median_interval


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


def describe(scores: Values) -> Description:
    """The description of scores, (cases,); those that are not finite are left out."""
    values = scores[np.isfinite(scores)]
    nan = float("nan")
    first, median, third = np.quantile(values, [0.25, 0.5, 0.75]) if len(values) else (nan, nan, nan)
    return Description(
        n=len(values),
        mean=float(values.mean()) if len(values) else nan,
        sd=float(values.std(ddof=1)) if len(values) > 1 else nan,
        median=float(median),
        quartiles=(float(first), float(third)),
        mean_t=mean_interval(values),
        mean_bootstrap=bootstrap_interval(values),
        median_order=median_interval(values),
    )
