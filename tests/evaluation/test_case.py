from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.evaluation.strategies import spacings
from umseg.evaluation import assd, dice, hd95, surface_dice, volume_difference
from umseg.evaluation.case import score_labels
from umseg.evaluation.classes import Classes
from umseg.evaluation.metrics.registry import choose_metrics
from umseg.evaluation.records import ClassScores

# A region that shares a value with a class.
VALUES = {"liver": (1,), "cyst": (3,), "any": (3, 1, 2)}
TOLERANCES = {"liver": 1.0, "cyst": 2.0, "any": 0.5}
maps = st.tuples(st.just(2), *[st.integers(1, 6)] * 3).flatmap(
    lambda shape: hnp.arrays(np.int8, shape, elements=st.integers(0, 3))
)


def score(
    prediction: np.ndarray, reference: np.ndarray, spacing: tuple[float, float, float], **values: int
) -> dict[str, ClassScores]:
    """Scores of classes of one value each, tolerance 1."""
    classes = Classes({name: (value,) for name, value in values.items()})
    return score_labels(prediction, reference, spacing, classes, dict.fromkeys(values, 1.0))


@settings(deadline=None)
@given(maps, spacings)
def test_scores_are_those_of_the_whole_masks(pair: np.ndarray, spacing: tuple[float, float, float]) -> None:
    """Cropping to the class must not change a score, wherever the class lies."""
    prediction, reference = pair
    scores = score_labels(prediction, reference, spacing, Classes(VALUES), TOLERANCES)
    assert list(scores) == list(VALUES)
    for name, values in VALUES.items():
        masks = np.isin(prediction, values), np.isin(reference, values)
        nsd = surface_dice(*masks, spacing, TOLERANCES[name])
        assert scores[name].scores["dsc"] == pytest.approx(dice(*masks), nan_ok=True)
        assert nsd == pytest.approx(scores[name].scores["nsd"], nan_ok=True)
        assert scores[name].n_pred == scores[name].TP + scores[name].FP == masks[0].sum()
        assert scores[name].n_ref == scores[name].TP + scores[name].FN == masks[1].sum()


@settings(deadline=None)
@given(maps, spacings, st.integers(0, 5))
def test_what_is_not_annotated_costs_nothing(pair: np.ndarray, spacing: tuple[float, float, float], start: int) -> None:
    """A prediction that is right wherever the reference is annotated is perfect."""
    prediction, reference = pair[0], pair[0].copy()
    reference[:, :, start:] = 4
    classes = Classes(VALUES, ignore_label=4)
    for name, scores in score_labels(prediction, reference, spacing, classes, TOLERANCES).items():
        known = np.isin(prediction, VALUES[name])[:, :, :start].sum()
        assert (0, 0, known) == (scores.FP, scores.FN, scores.TP)
        expected = 1 if known else math.nan
        assert expected == pytest.approx(scores.scores["dsc"], nan_ok=True)
        assert math.isnan(scores.scores["nsd"]) or scores.scores["nsd"] == 1


@settings(deadline=None)
@given(maps, spacings)
def test_overlap_is_counted_where_the_reference_is_annotated(
    pair: np.ndarray, spacing: tuple[float, float, float]
) -> None:
    """Value 3 is to be ignored here, in the reference alone."""
    prediction, reference = np.minimum(pair[0], 2), pair[1]
    classes = Classes({"liver": (1,), "any": (1, 2)}, ignore_label=3)
    known = reference != 3
    for name, scores in score_labels(prediction, reference, spacing, classes, TOLERANCES).items():
        masks = (np.isin(array, classes.values[name])[known] for array in (prediction, reference))
        assert scores.scores["dsc"] == pytest.approx(dice(*masks), nan_ok=True)


def test_no_surface_arises_where_the_annotation_ends() -> None:
    """A band that runs into the unknown, and a prediction that lies beside it: the ends at the unknown do not count."""
    reference, prediction = np.zeros((2, 1, 30, 40), np.int8)
    reference[0, 4:8] = 1
    prediction[0, 16:20] = 1
    reference[0, :, 20:] = 2
    scores = score_labels(prediction, reference, (9.0, 1.0, 1.0), Classes({"a": (1,)}, ignore_label=2), {"a": 3.0})["a"]
    # Long sides between the columns 0 and 19, without the cells that touch column 20; the end at column 0.
    length = 2 * 19 + 3 + 2 * math.sqrt(0.5)
    # Up to 3 cells from the unknown the prediction may be right, because its reference may begin there.
    assert pytest.approx(2 * 3 / (2 * length)) == scores.scores["nsd"]
    assert (scores.n_pred, scores.n_ref, scores.TP) == (80, 80, 0)


def test_volumes_in_millilitres(block: np.ndarray) -> None:
    scores = score(block, np.zeros_like(block), (5.0, 2.0, 10.0), a=1, b=2)
    assert scores["a"].volume_pred_ml == pytest.approx(32 * 0.1)
    assert scores["b"].volume_pred_ml == pytest.approx(8 * 0.1)
    assert scores["a"].volume_ref_ml == 0


def test_one_slice_has_no_volume(block: np.ndarray) -> None:
    scores = score(block[2:3], block[2:3], (999.0, 1.0, 1.0), a=1)
    assert math.isnan(scores["a"].volume_pred_ml)
    assert (scores["a"].n_pred, scores["a"].scores["nsd"]) == (16, 1)


@pytest.mark.parametrize("where", [0, 2, 4])
def test_a_class_in_one_slice_of_a_volume_is_no_two_dimensional_image(where: int) -> None:
    """Its caps above and below are surface too, also in the first and the last slice."""
    reference = np.zeros((5, 20, 20), np.int16)
    reference[where, 4:16, 4:16] = 1
    prediction = np.roll(reference, 2, axis=1)
    scores = score(prediction, reference, (5.0, 1.0, 1.0), a=1)
    masks = prediction == 1, reference == 1
    nsd = surface_dice(*masks, (5.0, 1.0, 1.0), 1.0)
    assert nsd == scores["a"].scores["nsd"]
    assert nsd != pytest.approx(surface_dice(masks[0][where], masks[1][where], (1.0, 1.0), 1.0), abs=0.01)


@settings(deadline=None)
@given(maps, spacings)
def test_distances_are_those_of_the_whole_masks(pair: np.ndarray, spacing: tuple[float, float, float]) -> None:
    """Cropping to the class must not change a distance, wherever the class lies."""
    prediction, reference = pair
    metrics = choose_metrics(["hd95", "assd", "volume_difference"])
    scores = score_labels(prediction, reference, spacing, Classes(VALUES), TOLERANCES, "px", metrics)
    for name, values in VALUES.items():
        masks = np.isin(prediction, values), np.isin(reference, values)
        expected = [hd95(*masks, spacing), assd(*masks, spacing), volume_difference(*masks)]
        assert list(scores[name].scores.values()) == pytest.approx(expected, nan_ok=True)


def test_a_class_that_neither_map_has_may_count_as_found() -> None:
    """Only where higher scores are better: a distance between nothing and nothing stays undefined."""
    maps = np.zeros((2, 3, 4, 5), np.int8)
    maps[:, 1, 1:3, 1:3] = 1
    metrics = choose_metrics(["dsc", "nsd", "hd95"])
    classes, tolerances = Classes({"a": (1,), "b": (2,)}), {"a": 1.0, "b": 1.0}
    scores = score_labels(maps[0], maps[1], (1.0, 1.0, 1.0), classes, tolerances, metrics=metrics, both_empty=1.0)
    assert list(scores["b"].scores.values()) == pytest.approx([1, 1, math.nan], nan_ok=True)
    default = score_labels(maps[0], maps[1], (1.0, 1.0, 1.0), classes, tolerances, metrics=metrics)
    assert list(default["b"].scores.values()) == pytest.approx([math.nan] * 3, nan_ok=True)
    assert default["a"] == scores["a"]


def test_many_values_with_gaps() -> None:
    """Hundreds of classes of 16 bits, one of which is a single voxel, with one that no map has."""
    values = np.arange(1, 1606, 2)
    reference = np.zeros((9, 10, 9), np.int16)
    reference.ravel()[: len(values)] = values
    prediction = np.roll(reference, 1)
    classes = Classes({str(value): (int(value),) for value in (*values, 1604)})
    scores = score_labels(prediction, reference, (1.0, 1.0, 1.0), classes, dict.fromkeys(classes.values, 1.0))
    assert [entry.n_ref for entry in scores.values()] == [1] * len(values) + [0]
    assert scores["1"].scores == {"dsc": 0, "nsd": 1}
    assert math.isnan(scores["1604"].scores["dsc"])
