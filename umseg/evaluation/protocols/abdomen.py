"""The protocol of abdominal organs in CT and MR: 13 organs, each with its own tolerance (docs/rules.md, Evaluation)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from umseg.common.errors import UserError
from umseg.evaluation.alignment import LabelPair
from umseg.evaluation.case import score_labels
from umseg.evaluation.classes import Classes
from umseg.evaluation.metrics.counts import count_voxels
from umseg.evaluation.metrics.measurements import Mask
from umseg.evaluation.metrics.overlap import dice
from umseg.evaluation.protocols.published import (
    CORRECTED,
    DSC_PUBLISHED,
    NSD_PUBLISHED,
    box_of,
    rounded,
    volume_nsd,
)
from umseg.evaluation.records import ClassScores
from umseg.kernels.labels.joint import JointCounts


@dataclass(frozen=True)
class Organ:
    """An organ of the protocol.

    Attributes:
        name: Its name.
        short: Its name in the published tables.
        tolerance: Tolerance of the NSD, mm.
        in_range: Whether only the slices between the first and the last of the reference are scored, because the organ
            goes on beyond what is annotated.
    """

    name: str
    short: str
    tolerance: float
    in_range: bool = False


ORGANS = (
    Organ("liver", "liver", 5),
    Organ("right kidney", "RK", 3),
    Organ("spleen", "spleen", 3),
    Organ("pancreas", "pancreas", 5),
    Organ("aorta", "aorta", 2, in_range=True),
    Organ("inferior vena cava", "IVC", 2, in_range=True),
    Organ("right adrenal gland", "RAG", 2),
    Organ("left adrenal gland", "LAG", 2),
    Organ("gallbladder", "gallbladder", 2),
    Organ("esophagus", "esophagus", 3, in_range=True),
    Organ("stomach", "stomach", 5),
    Organ("duodenum", "duodenum", 7),
    Organ("left kidney", "LK", 3),
)
"""The organs by their values in label maps, from 1."""

CLASSES = Classes({organ.name: (value,) for value, organ in enumerate(ORGANS, start=1)})
TOLERANCES = {organ.name: organ.tolerance for organ in ORGANS}


def score_organs(maps: LabelPair, values: JointCounts) -> dict[str, ClassScores]:
    """The scores of one case: as published and corrected.

    As published: an organ that neither label map has scores 1; of the organs that are scored in the range of the
    reference alone, the reference's last slice is left out; all is rounded to four digits. Corrected: an organ that
    neither has is not scored, and the last slice counts.

    Args:
        maps: The two label maps.
        values: The pairs of their values.
    """
    found = score_labels(
        maps.prediction, maps.reference, maps.spacing, CLASSES, TOLERANCES, maps.unit, CORRECTED, values
    )
    for value, organ in enumerate(ORGANS, start=1):
        scores = found[organ.name]
        dsc, nsd = scores.scores["dsc"], scores.scores["nsd"]
        if not scores.n_pred and not scores.n_ref:
            dsc, nsd = 1.0, 1.0
        elif scores.n_ref and (organ.in_range or maps.shape[0] == 1):
            box = box_of(values, value)
            prediction, reference = maps.prediction[box] == value, maps.reference[box] == value
            if organ.in_range:
                scores = _in_range(scores, maps, prediction, reference, organ)
                prediction, reference = _slices(prediction, reference, last=False)
            dsc, nsd = dice(prediction, reference), volume_nsd(prediction, reference, maps.spacing, organ.tolerance)
        published = {DSC_PUBLISHED.key: rounded(dsc), NSD_PUBLISHED.key: rounded(nsd)}
        found[organ.name] = scores.model_copy(update={"scores": {**scores.scores, **published}})
    return found


def check_names(labels: Mapping[str, object], file: Path) -> None:
    """Refuse a data set that numbers the organs otherwise than the protocol does.

    Args:
        labels: Class name to value; names that the protocol does not know say nothing.
        file: Where they stand.

    Raises:
        UserError: An organ has another value.
    """
    known = {_letters(name): value for value, organ in enumerate(ORGANS, 1) for name in (organ.name, organ.short)}
    for name, value in labels.items():
        expected = known.get(_letters(name))
        if expected is not None and value != expected:
            raise UserError(
                "The data set numbers the organs otherwise than the protocol.",
                file=file,
                found=f"{name} = {value}",
                expected=f"{name} = {expected}; all of them: "
                + ", ".join(f"{number} {organ.name}" for number, organ in enumerate(ORGANS, 1)),
                remedy="Give the label maps the values of the protocol, or leave out --protocol.",
            )


def _letters(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalpha())


def _in_range(scores: ClassScores, maps: LabelPair, prediction: Mask, reference: Mask, organ: Organ) -> ClassScores:
    """The corrected scores and the counts in the slices between the first and the last of the reference, inclusive."""
    prediction, reference = _slices(prediction, reference, last=True)
    flat = maps.shape[0] == 1
    nsd = scores.scores["nsd"] if flat else volume_nsd(prediction, reference, maps.spacing, organ.tolerance)
    counts = count_voxels(prediction, reference)
    return scores.model_copy(
        update={
            "scores": {"dsc": dice(prediction, reference), "nsd": nsd},
            "TP": counts.TP,
            "FP": counts.FP,
            "n_pred": counts.n_pred,
            "volume_pred_ml": scores.volume_ref_ml * counts.n_pred / counts.n_ref,
        }
    )


def _slices(prediction: Mask, reference: Mask, *, last: bool) -> tuple[Mask, Mask]:
    """Both masks from the first slice of the reference to its last one, with it or without."""
    slices = np.flatnonzero(reference.any(axis=(1, 2)))
    part = slice(int(slices[0]), int(slices[-1]) + last)
    return prediction[part], reference[part]
