"""The description of scores over cases."""

from __future__ import annotations

import math

import numpy as np

from umseg.evaluation.records import Description
from umseg.evaluation.statistics.intervals import Values, bootstrap_interval, mean_interval, median_interval


def describe(scores: Values) -> Description:
    """The description of scores, (cases,); those that are not finite are left out."""
    values = scores[np.isfinite(scores)]
    nan = math.nan
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
