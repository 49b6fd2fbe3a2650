"""What a metric is: a value with a name, a unit, the better direction, and a function of shared measurements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from umseg.evaluation.metrics.measurements import Measurements

Better = Literal["higher", "lower", "zero"]
"""Which scores are better: higher ones, lower ones, or those nearer to zero."""

Needs = Literal["counts", "masks", "near_surfaces", "surfaces"]
"""The attribute of the measurements that a metric reads. Distances between surfaces take most of the time;
``near_surfaces``, which are exact only up to the tolerance, take much less than ``surfaces``."""


@dataclass(frozen=True)
class Metric:
    """One score of a class in a case.

    Attributes:
        key: Name for ``--metrics`` and in ``metrics.json``, e.g. ``hd95``.
        title: Name in tables, e.g. ``HD95``.
        description: What the score means and which value is perfect, for the notes below a table; one line.
        unit: Empty for a ratio. ``mm`` stands for the unit of the case's spacing: pixels where the files do not say
            how large voxels are. ``ml`` likewise stands for voxels there and in images of a single slice.
        better: Which scores are better.
        needs: What the function reads. A wrong value costs time, but no score changes.
        function: A module-level function (it is sent to worker processes) that computes the score. It returns NaN
            where the score is not defined; the case then does not enter the mean. It may return infinity, which does
            not enter the mean either but is counted and reported.
    """

    key: str
    title: str
    description: str
    unit: str
    better: Better
    needs: Needs
    function: Callable[[Measurements], float]

    @property
    def uses_tolerance(self) -> bool:
        """Whether the score depends on the tolerance."""
        return self.needs == "near_surfaces"
