from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from umseg.dataset.description import DatasetDescription
from umseg.dataset.io.grid import Geometry
from umseg.dataset.io.images import read_label, write_label
from umseg.evaluation import Metrics, Pair, evaluate_described
from umseg.inference.postprocessing.classes import ClassRule
from umseg.workflows.best.class_cleaning import best_rule, candidate_volumes, choose_class_cleaning
from umseg.workflows.best.components import Maps, class_components, foreground_components

Array = NDArray[Any]

SHAPE = (4, 20, 20)
SPACING = (2.0, 1.0, 1.0)
GRID = Geometry(SHAPE[::-1], SPACING[::-1], (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1, 0, 0, 0, 1))


def description(**labels: Any) -> DatasetDescription:
    return DatasetDescription(
        channel_names={"0": "CT"},
        labels={"background": 0, **(labels or {"liver": 1, "tumour": 2})},
        numTraining=2,
        file_ending=".nii.gz",
    )


def organ() -> Array:
    label = np.zeros(SHAPE, dtype=np.uint8)
    label[:, 3:12, 3:12] = 1
    label[1:3, 5:8, 5:8] = 2
    return label


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def pair(case: str, prediction: Array, reference: Array) -> Pair:
        files = [tmp_path / kind / f"{case}.nii.gz" for kind in ("prediction", "reference")]
        for file, label in zip(files, (prediction, reference), strict=True):
            file.parent.mkdir(exist_ok=True)
            write_label(file, label, GRID)
        return Pair(case, *files)

    return pair


def test_a_speck_far_away_asks_for_the_largest_foreground(write: Any) -> None:
    pairs = []
    for number in range(2):
        wrong = organ()
        wrong[0, 17:19, 17:19] = 1 + number
        pairs.append(write(f"case{number}", wrong, organ()))
    choice = choose_class_cleaning(pairs, description(), quiet=True)
    assert choice.cleaning.largest_foreground
    assert choice.cleaning.classes == {}
    assert choice.after == {"liver": 1, "tumour": 1}
    assert choice.before["liver"] < 1


def test_a_class_that_would_lose_stops_the_largest_foreground(write: Any) -> None:
    reference = organ()
    reference[0, 16:19, 16:19] = 2  # a metastasis
    wrong = reference.copy()
    wrong[3, 18, 2] = 1  # a speck of the liver
    choice = choose_class_cleaning([write("case", wrong, reference)], description(), quiet=True)
    assert not choice.cleaning.largest_foreground
    assert choice.cleaning.classes == {"liver": ClassRule(smallest=choice.cleaning.classes["liver"].smallest)}
    assert choice.after == {"liver": 1, "tumour": 1}


def test_holes_are_filled_where_validation_gains(write: Any) -> None:
    wrong, reference = organ(), organ()
    reference[reference == 2] = 1
    wrong[wrong == 2] = 1
    wrong[1:3, 8:10, 8:10] = 0
    choice = choose_class_cleaning([write("case", wrong, reference)], description(), quiet=True)
    assert choice.cleaning.classes == {"liver": ClassRule(fill_holes=True)}


def test_good_label_maps_stay_as_they_are(write: Any) -> None:
    choice = choose_class_cleaning([write("case", organ(), organ())], description(), quiet=True)
    assert choice.cleaning.changes_nothing
    assert choice.before == choice.after == {"liver": 1, "tumour": 1}


def test_a_class_in_no_case_has_no_score(write: Any) -> None:
    wrong = organ()
    wrong[0, 18, 18] = 1
    choice = choose_class_cleaning([write("case", wrong, organ())], description(liver=1, tumour=2, rare=3), quiet=True)
    assert np.isnan(choice.after["rare"])
    assert choice.cleaning.largest_foreground


def test_unannotated_voxels_do_not_count(write: Any) -> None:
    wrong, reference = organ(), organ()
    wrong[0, 17:19, 17:19] = 1
    reference[0, 15:, 15:] = 3
    choice = choose_class_cleaning(
        [write("case", wrong, reference)], description(liver=1, tumour=2, ignore=3), quiet=True
    )
    assert choice.cleaning.changes_nothing


def test_regions_are_scored_as_regions(write: Any) -> None:
    regions = DatasetDescription(
        channel_names={"0": "MR"},
        labels={"background": 0, "whole": [1, 2], "core": 2},
        regions_class_order=(1, 2),
        numTraining=2,
        file_ending=".nii.gz",
    )
    wrong = organ()
    wrong[0, 17:19, 17:19] = 2
    choice = choose_class_cleaning([write("case", wrong, organ())], regions, quiet=True)
    assert choice.cleaning.largest_foreground
    assert choice.after == {"whole": 1, "core": 1}


def test_the_gain_is_what_evaluation_measures(write: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pairs = []
    for number in range(3):
        wrong = organ()
        wrong[rng.random(SHAPE) > 0.97] = rng.integers(1, 3)
        pairs.append(write(f"case{number}", wrong, organ()))
    choice = choose_class_cleaning(pairs, description(), quiet=True)
    cleaned = []
    for pair in pairs:
        label = read_label(pair.prediction)
        new = tmp_path / "cleaned" / pair.prediction.name
        new.parent.mkdir(exist_ok=True)
        write_label(new, choice.cleaning.apply(label.array, description().foreground, label.spacing), label.geometry)
        cleaned.append(Pair(pair.case, new, pair.reference))
    for found, expected in ((pairs, choice.before), (cleaned, choice.after)):
        metrics = evaluate_described(found, description(), quiet=True)
        assert isinstance(metrics, Metrics)
        for name, value in expected.items():
            assert metrics.classes[name].scores["dsc"].mean == pytest.approx(value, abs=1e-12)
    assert np.mean(list(choice.after.values())) > np.mean(list(choice.before.values()))


labels = arrays(np.uint8, (2, 5, 5), elements=st.integers(0, 2))


@given(labels, labels)
def test_all_components_together_are_the_class(prediction: Array, reference: Array) -> None:
    maps = Maps(prediction, reference, None, SPACING)
    whole = foreground_components(maps, [(1,), (2,)])
    parts = class_components(maps, {"liver": 1, "tumour": 2})
    for number, name in enumerate(("liver", "tumour")):
        assert whole.predicted[:, number].sum() == parts[name].predicted.sum() == (prediction == number + 1).sum()
        assert whole.common[:, number].sum() == parts[name].common.sum()
        assert parts[name].volumes.sum() == pytest.approx(2 * (prediction == number + 1).sum())


def test_the_gentlest_of_equal_rules_wins() -> None:
    wrong = organ()
    wrong[0, 18, 18] = 1
    found = class_components(Maps(wrong, organ(), None, SPACING), {"liver": 1})["liver"]
    rule = best_rule([(found, np.array([100.0, 600.0]))])
    assert rule == ClassRule(smallest=50)


def test_candidate_volumes() -> None:
    assert candidate_volumes(np.array([])) == ()
    assert candidate_volumes(np.array([8.0, 8.0])) == (4.0, 8.0)
