"""Detection of single lesions, by counts that can be checked by eye, and the rules in the keys of its metrics."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

from umseg.common.errors import UserError
from umseg.evaluation.metrics.measurements import Measurements
from umseg.evaluation.metrics.registry import choose_metrics


def score(key: str, prediction: np.ndarray, reference: np.ndarray, voxel_ml: float = math.nan) -> float:
    (metric,) = choose_metrics([key])
    return metric.function(Measurements(prediction, reference, voxel_ml=voxel_ml))


@pytest.fixture
def lesions() -> tuple[np.ndarray, np.ndarray]:
    """Four lesions of 1, 4, 8 and 9 voxels, of which those of 4 and 9 are touched; one piece of 2 voxels is invented.

    The lesion of 4 voxels is found whole, of that of 9 one voxel.
    """
    prediction, reference = np.zeros((2, 3, 12, 20), bool)
    reference[0, 0, 0] = True
    reference[1, 2:4, 2:4] = prediction[1, 2:4, 2:4] = True
    reference[0:2, 6:8, 6:8] = True
    reference[1, 8:11, 12:15] = True
    prediction[1, 8, 12] = True
    prediction[2, 0, 18:20] = True
    return prediction, reference


def test_one_common_voxel_detects_a_lesion(lesions: tuple[np.ndarray, np.ndarray]) -> None:
    assert score("lesion_sensitivity", *lesions) == 2 / 4
    assert score("lesion_precision", *lesions) == pytest.approx(2 / 3)
    assert score("lesion_f1", *lesions) == pytest.approx(4 / 7)


def test_at_a_threshold_lesions_are_matched_one_to_one(lesions: tuple[np.ndarray, np.ndarray]) -> None:
    assert score("lesion_sensitivity@0.1", *lesions) == 2 / 4
    assert score("lesion_sensitivity@0.2", *lesions) == 1 / 4
    assert score("lesion_precision@1", *lesions) == pytest.approx(1 / 3)
    reference = np.ones((1, 1, 9), bool)
    prediction = reference.copy()
    prediction[..., 4] = False
    assert score("lesion_precision", prediction, reference) == 1
    assert score("lesion_precision@0.3", prediction, reference) == 1 / 2


def test_sizes_in_voxels_and_millilitres(lesions: tuple[np.ndarray, np.ndarray]) -> None:
    assert score("lesion_sensitivity:..4", *lesions) == 0
    assert score("lesion_sensitivity:4..9", *lesions) == 1 / 2
    assert score("lesion_sensitivity:9..", *lesions) == 1
    assert score("lesion_precision:2..4", *lesions) == 0
    assert score("lesion_sensitivity:0.4..0.9", *lesions, voxel_ml=0.1) == 1 / 2
    assert score("lesion_f1@0.2:2..10", *lesions) == pytest.approx(2 * (1 / 3) * (1 / 2) / (1 / 3 + 1 / 2))
    assert math.isnan(score("lesion_f1:100..", *lesions))


def test_nothing_there_and_nothing_found() -> None:
    empty, full = np.zeros((2, 3, 4), bool), np.ones((2, 3, 4), bool)
    for key in ("lesion_f1", "lesion_sensitivity", "lesion_precision"):
        assert math.isnan(score(key, empty, empty))
    assert (
        score("lesion_f1", empty, full) == score("lesion_f1", full, empty) == score("lesion_sensitivity", empty, full)
    )
    assert score("lesion_f1", empty, full) == 0
    assert math.isnan(score("lesion_precision", empty, full))
    assert score("lesion_f1", full, full) == 1


def test_voxels_that_share_a_corner_are_one_lesion() -> None:
    diagonal = np.eye(4, dtype=bool)[None]
    assert score("lesion_precision@1", diagonal, diagonal) == 1
    assert Measurements(diagonal, diagonal).lesions.predicted.tolist() == [4]


def test_a_rule_is_part_of_the_name_and_of_the_description() -> None:
    (metric,) = choose_metrics(["lesion_f1@0.1:0.5..2"])
    assert (metric.key, metric.title) == ("lesion_f1@0.1:0.5..2", "lesion F1@0.1:0.5..2")
    assert metric.description.endswith("; matched at an IoU of 0.1; of 0.5 to less than 2 ml; 1 is perfect.")
    assert pickle.dumps(metric), "it is sent to worker processes"


@pytest.mark.parametrize(
    "key", ["lesion_f1@", "lesion_f1@2", "lesion_f1@0", "lesion_f1:", "lesion_f1:..", "lesion_f1:2..1", "dsc@0.5"]
)
def test_a_rule_that_makes_no_sense(key: str) -> None:
    with pytest.raises(UserError, match="rule of the metric") as caught:
        choose_metrics([key])
    assert caught.value.found == key
