"""What the published scripts have in common (docs/metrics.md, Protocols)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from umseg.evaluation.metrics.measurements import Mask
from umseg.evaluation.metrics.metric import Metric
from umseg.evaluation.metrics.overlap import DSC
from umseg.evaluation.metrics.surface import NSD, surface_dice
from umseg.evaluation.records import ProtocolScore
from umseg.kernels.labels.joint import JointCounts

DIGITS = 4
"""To so many digits the scripts round the scores of a case."""

DSC_CORRECTED = dataclasses.replace(DSC, title="DSC corrected")
NSD_CORRECTED = dataclasses.replace(NSD, title="NSD corrected")
DSC_PUBLISHED = dataclasses.replace(
    DSC, key="dsc_published", title="DSC published", description="as the published script computes it."
)
NSD_PUBLISHED = dataclasses.replace(
    NSD, key="nsd_published", title="NSD published", description="as the published script computes it."
)
CORRECTED: tuple[Metric, ...] = (DSC_CORRECTED, NSD_CORRECTED)
PUBLISHED: tuple[Metric, ...] = (DSC_PUBLISHED, NSD_PUBLISHED)


def volume_nsd(prediction: Mask, reference: Mask, spacing: Sequence[float], tolerance: float) -> float:
    """NSD of masks that are volumes even if they have a single slice: its two flat sides are surface, too.

    Args:
        prediction: (z, y, x), boolean.
        reference: The same shape.
        spacing: Length of a voxel along z, y, x.
        tolerance: In the unit of the spacing.
    """
    # Behind the first and the last slice everything is outside; with two empty slices more, none is taken for 2-D.
    margin = ((1, 1), (0, 0), (0, 0))
    return surface_dice(np.pad(prediction, margin), np.pad(reference, margin), spacing, tolerance)


def box_of(values: JointCounts, label: int) -> tuple[slice, slice, slice]:
    """The box around a value in both label maps; empty where neither has it."""
    boxes = values.boxes[(values.first == label) | (values.second == label)]
    if not len(boxes):
        return slice(0), slice(0), slice(0)
    first, stop = boxes[:, :3].min(axis=0), boxes[:, 3:].max(axis=0)
    z, y, x = (slice(int(start), int(end)) for start, end in zip(first, stop, strict=True))
    return z, y, x


def rounded(value: float) -> float:
    """The value to four digits, as numpy rounds; NaN stays NaN."""
    return float(np.round(value, DIGITS))


def over_cases(scores: Mapping[str, Sequence[float]]) -> dict[str, ProtocolScore]:
    """Scores over cases, by title; those that are not finite are left out."""
    found = {}
    for title, values in scores.items():
        finite = [value for value in values if math.isfinite(value)]
        found[title] = ProtocolScore(
            mean=float(np.mean(finite)) if finite else math.nan,
            sd=float(np.std(finite, ddof=1)) if len(finite) > 1 else math.nan,
            median=float(np.median(finite)) if finite else math.nan,
        )
    return found
