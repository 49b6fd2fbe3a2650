"""F1 of instance maps: the published script's recorded counts, and laws."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from tests.conftest import GOLDEN
from umseg.evaluation import instance_f1

FOLDER = GOLDEN / "metrics"
RECORDED = json.loads((FOLDER / "inst_expected.json").read_text())
# Few objects of few voxels, so that all kinds of overlap and exact halves occur.
maps = hnp.arrays(np.int16, st.tuples(st.just(2), st.integers(1, 6), st.integers(1, 7)), elements=st.integers(0, 4))
thresholds = st.sampled_from([0.1, 1 / 3, 0.5, 0.7, 1.0])


@pytest.mark.parametrize("name", RECORDED)
@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.9])
@pytest.mark.parametrize(("border", "rule"), [(0, "countbd"), (2, "nobd")])
def test_recorded_counts(name: str, threshold: float, border: int, rule: str) -> None:
    with np.load(FOLDER / f"inst_{name}.npz", allow_pickle=False) as arrays:
        reference, classes = arrays["gt"], arrays["pred_classmap"]
    prediction = ndimage.label(classes == 1, np.ones((3, 3)))[0]
    expected = RECORDED[name][f"thr{threshold}_{rule}"]
    scores = instance_f1(prediction, reference, threshold, border)
    assert (expected["tp"], expected["fp"], expected["fn"]) == (scores.TP, scores.FP, scores.FN)
    if expected["true_num"] + expected["pred_num"]:
        for found, field in ((scores.precision, "precision"), (scores.recall, "recall"), (scores.F1, "f1")):
            assert found == pytest.approx(expected[field])


def published_count(prediction: np.ndarray, reference: np.ndarray, threshold: float) -> int:
    """Matches by the rule of the published script: an assignment over all pairs (docs/rules.md, Evaluation)."""
    predicted, wanted = (np.unique(array[array > 0]) for array in (prediction, reference))
    if not len(predicted) or not len(wanted):
        return 0
    masks = [[array == value for value in values] for array, values in ((prediction, predicted), (reference, wanted))]
    iou = np.array([[(p & r).sum() / (p | r).sum() for r in masks[1]] for p in masks[0]])
    gain = (iou >= threshold) + iou / (2 * min(iou.shape))
    rows, columns = linear_sum_assignment(-gain)
    return int((iou[rows, columns] >= threshold).sum())


@settings(max_examples=300, deadline=None)
@given(maps, thresholds)
def test_counts_are_those_of_the_published_assignment(pair: np.ndarray, threshold: float) -> None:
    scores = instance_f1(pair[0], pair[1], threshold)
    assert published_count(pair[0], pair[1], threshold) == scores.TP
    assert tuple(len(np.unique(a[a > 0])) for a in pair) == (scores.TP + scores.FP, scores.TP + scores.FN)


@settings(deadline=None)
@given(maps, thresholds, st.integers(0, 2))
def test_swapping_the_maps_swaps_precision_and_recall(pair: np.ndarray, threshold: float, border: int) -> None:
    one, other = instance_f1(pair[0], pair[1], threshold, border), instance_f1(pair[1], pair[0], threshold, border)
    assert (one.TP, one.FP, one.FN) == (other.TP, other.FN, other.FP)
    assert one.precision == pytest.approx(other.recall, nan_ok=True)


@settings(deadline=None)
@given(maps, thresholds)
def test_numbers_of_objects_mean_nothing(pair: np.ndarray, threshold: float) -> None:
    names = np.array([0, 70_001, 3, 2_000_000_000, 12])
    assert repr(instance_f1(names[pair[0]], pair[1], threshold)) == repr(instance_f1(pair[0], pair[1], threshold))


@settings(deadline=None)
@given(maps)
def test_a_map_matches_itself(pair: np.ndarray) -> None:
    scores = instance_f1(pair[0], pair[0], 1.0)
    assert (scores.FP, scores.FN) == (0, 0)


def test_an_object_is_matched_once() -> None:
    """Two halves of an object share half of the union each: only one of them finds it."""
    scores = instance_f1(np.array([[1, 1, 2, 2]]), np.array([[5, 5, 5, 5]]))
    assert (scores.TP, scores.FP, scores.FN) == (1, 1, 0)
    assert pytest.approx(2 / 3) == scores.F1


def test_nothing_there_says_nothing() -> None:
    empty, one = np.zeros((3, 4), np.uint8), np.eye(3, 4, dtype=np.uint8)
    both, none_found, none_wanted = instance_f1(empty, empty), instance_f1(empty, one), instance_f1(one, empty)
    assert math.isnan(both.F1)
    assert (none_found.F1, none_found.recall, none_wanted.F1, none_wanted.precision) == (0, 0, 0, 0)
    assert math.isnan(none_found.precision)
    assert math.isnan(none_wanted.recall)


def test_border_leaves_out_whole_objects() -> None:
    instances = np.zeros((1, 8, 9), np.uint8)
    instances[0, 1:4, 1:4] = 1
    instances[0, 2:6, 5:7] = 2
    assert [instance_f1(instances, instances, border=border).TP for border in (0, 1, 2, 5)] == [2, 2, 1, 0]


def test_many_objects_in_a_volume() -> None:
    """Tens of thousands of objects take no loop over objects."""
    reference = np.arange(1, 40_001).reshape(40, 40, 25).repeat(3, axis=2)
    prediction = reference.copy()
    prediction[..., ::3] = 0
    scores = instance_f1(prediction, reference)
    assert (scores.TP, scores.FP, scores.FN) == (40_000, 0, 0)
    assert instance_f1(prediction, reference, 0.7).TP == 0


def test_wrong_arguments() -> None:
    one = np.ones((3, 4), np.int8)
    with pytest.raises(ValueError, match="one shape"):
        instance_f1(one, one[:2])
    with pytest.raises(ValueError, match="positive"):
        instance_f1(one, -one)
    for threshold, border in ((0, 0), (1.1, 0), (0.5, -1)):
        with pytest.raises(ValueError, match="must be"):
            instance_f1(one, one, threshold, border)
