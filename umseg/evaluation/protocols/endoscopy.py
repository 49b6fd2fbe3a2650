"""The protocol of instruments in endoscopic images (docs/rules.md, Evaluation)."""

from __future__ import annotations

import math

import numpy as np

from umseg.evaluation.alignment import LabelPair
from umseg.evaluation.case import score_labels
from umseg.evaluation.classes import Classes
from umseg.evaluation.metrics.overlap import dice
from umseg.evaluation.protocols.published import CORRECTED, DSC_PUBLISHED, NSD_PUBLISHED, box_of, volume_nsd
from umseg.evaluation.records import ClassScores
from umseg.kernels.labels.joint import JointCounts

TOLERANCE = 2.0
"""Tolerance of the NSD, pixels."""

PIXEL = (1.0, 1.0, 1.0)


def score_instruments(maps: LabelPair, values: JointCounts, classes: Classes) -> dict[str, ClassScores]:
    """The scores of one image, as published and corrected.

    As published: the smallest value of each label map is taken for the background, even where a map has none, and the
    NSD is that of a volume of one slice, whose two flat sides are surface. Corrected: all classes count, and the NSD is
    that of the contour.

    Args:
        maps: The two label maps, of one slice.
        values: The pairs of their values.
        classes: The classes of all images.
    """
    tolerances = dict.fromkeys(classes.values, TOLERANCE)
    found = score_labels(maps.prediction, maps.reference, PIXEL, classes, tolerances, "px", CORRECTED, values)
    # Sorted, so that the first is the smallest.
    seen = {*np.unique(values.first)[1:].tolist(), *np.unique(values.second)[1:].tolist()}
    for name, (value,) in classes.values.items():
        dsc = nsd = math.nan
        if value in seen:
            box = box_of(values, value)
            prediction, reference = maps.prediction[box] == value, maps.reference[box] == value
            dsc, nsd = dice(prediction, reference), volume_nsd(prediction, reference, PIXEL, TOLERANCE)
        published = {DSC_PUBLISHED.key: dsc, NSD_PUBLISHED.key: nsd}
        found[name] = found[name].model_copy(update={"scores": {**found[name].scores, **published}})
    return found
