from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.inference.models import make_image, make_plan, write_model
from umseg.common.errors import UserError
from umseg.inference import Predictor
from umseg.inference.best import Best, Candidate, Member
from umseg.inference.ensemble import Ensemble
from umseg.inference.postprocessing.classes import ClassCleaning, ClassRule
from umseg.inference.same_data import require_same_data
from umseg.models.card import load_card
from umseg.workspace import BEST_CHOICE

SPACING = (1.3, 1.0, 0.9)
REGIONS: dict[str, Any] = {
    "labels": {"background": 0, "all": [1, 2, 3], "core": [2, 3], "rim": 3},
    "regions_class_order": (3, 1, 2),
}


def coarser(folder: Path, spacing: tuple[float, float, float], order: tuple[int, int, int] = (0, 1, 2)) -> Path:
    """Give a model another plan: another spacing and order of axes."""
    card = load_card(folder)
    plan = make_plan(3, order)
    small = plan.configuration("small").model_copy(update={"spacing": spacing})
    plan = plan.model_copy(update={"configurations": {"small": small}})
    card.model_copy(update={"plan": plan}).save(folder / "model.json")
    return folder


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    models = tmp_path / "models"
    second = write_model(models / "nnunet__second", folds=("1",))
    return [write_model(models / "nnunet__first"), coarser(second, (2.0, 1.5, 1.0))]


def together(models: list[Path], image: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The mean of the probabilities that each model gives by itself, and the label map of all together."""
    single = [
        Predictor(model, "cpu", precision="fp32").predict(image[None], SPACING, probabilities=True)[1]
        for model in models
    ]
    return np.mean(single, axis=0), Predictor(models, "cpu", precision="fp32").predict(image[None], SPACING)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_probabilities_are_averaged_whatever_the_plans(two: list[Path], order: tuple[int, int, int]) -> None:
    coarser(two[1], (2.0, 1.5, 1.0), order)
    mean, label_map = together(two, make_image((13, 10, 21)))
    np.testing.assert_array_equal(label_map, mean.argmax(axis=0))
    assert len(np.unique(label_map)) > 1


def test_regions_are_likely_where_their_mean_is(tmp_path: Path) -> None:
    models = [write_model(tmp_path / name, folds=(fold,), **REGIONS) for name, fold in (("a__x", "0"), ("b__x", "1"))]
    mean, label_map = together(models, make_image())
    expected = np.zeros_like(label_map)
    for value, region in zip((3, 1, 2), mean, strict=True):
        expected[region > 0.5] = value
    np.testing.assert_array_equal(label_map, expected)


def test_strips_change_nothing(two: list[Path]) -> None:
    image = make_image((20, 31, 12))
    whole = Predictor(two, "cpu", precision="fp32").predict(image[None], SPACING)
    thin = Predictor(two, "cpu", precision="fp32", most_bytes=2 * 40_000)
    model = thin.model
    assert isinstance(model, Ensemble)
    prepared = model.prepare(image[None], SPACING)
    assert len(model._row_ranges(prepared)) > 1
    np.testing.assert_array_equal(thin.predict(image[None], SPACING), whole)


def test_the_probabilities_of_several_are_their_mean(two: list[Path]) -> None:
    image = make_image()
    mean, label_map = together(two, image)
    found, probabilities = Predictor(two, "cpu", precision="fp32").predict(image[None], SPACING, probabilities=True)
    np.testing.assert_allclose(probabilities, mean, atol=1e-6)
    np.testing.assert_array_equal(found, label_map)


def test_progress_reaches_the_end(two: list[Path]) -> None:
    model = Predictor(two, "cpu", precision="fp32").model
    told: list[tuple[int, int]] = []
    model.segment(model.prepare(make_image((20, 9, 9))[None], SPACING), lambda *now: told.append(now))
    assert told[-1][0] == told[-1][1]


def test_models_of_other_labels_are_refused(tmp_path: Path) -> None:
    first = write_model(tmp_path / "a__x")
    other = write_model(tmp_path / "b__x", labels={"background": 0, "liver": 1, "tumour": 2})
    with pytest.raises(UserError, match="different data"):
        Predictor([first, other], "cpu")


def test_every_label_is_compared_however_many_there_are(tmp_path: Path) -> None:
    labels = {"background": 0, **{f"organ {n}": n for n in range(1, 31)}}
    first = write_model(tmp_path / "a__x", labels=labels)
    other = write_model(tmp_path / "b__x", labels={**labels, "organ 30": 29, "organ 29": 30})
    with pytest.raises(UserError, match=r"different data[\s\S]*organ 29 = 30"):
        require_same_data([load_card(folder) for folder in (first, other)])


def test_a_model_that_is_named_twice_is_refused(two: list[Path]) -> None:
    with pytest.raises(UserError, match="named twice"):
        Predictor([two[0], two[0]], "cpu")


def write_best(workspace: Path, *members: str, **fields: Any) -> Path:
    best = Best(
        dataset_name="Dataset900_Small",
        metric="DSC",
        cases=3,
        candidates=(Candidate(models=members, score=0.5),),
        members=tuple(Member(model=name, folds=("0" if name.endswith("first") else "1",)) for name in members),
        score=0.5,
        score_after=0.5,
        **fields,
    )
    best.save(workspace / BEST_CHOICE)
    return workspace / BEST_CHOICE


class TestBest:
    def test_its_members_predict_together(self, two: list[Path], tmp_path: Path) -> None:
        file = write_best(tmp_path, "nnunet__first", "nnunet__second")
        image = make_image()
        expected = Predictor(two, "cpu", precision="fp32").predict(image[None], SPACING)
        np.testing.assert_array_equal(Predictor(file, "cpu", precision="fp32").predict(image[None], SPACING), expected)

    @pytest.mark.parametrize("names", [["nnunet__first"], ["nnunet__first", "nnunet__second"]])
    def test_its_cleaning_is_applied(self, two: list[Path], tmp_path: Path, names: list[str]) -> None:
        cleaning = ClassCleaning(classes={"organ": ClassRule(fill_holes=True), "tumour": ClassRule(largest=True)})
        file = write_best(tmp_path, *names, cleaning=cleaning)
        image = make_image((13, 10, 21))
        plain = Predictor(file, "cpu", precision="fp32", postprocessing=False)
        cleaned = Predictor(file, "cpu", precision="fp32")
        before, after = (one.predict(image[None], SPACING) for one in (plain, cleaned))
        np.testing.assert_array_equal(cleaned.predict(image[None], SPACING, probabilities=True)[0], after)
        np.testing.assert_array_equal(after, cleaning.apply(before, {"organ": 1, "tumour": 2}, SPACING))
        assert (after != before).any()
        assert plain.model.settings != cleaned.model.settings

    def test_a_model_that_has_gone_is_named(self, two: list[Path], tmp_path: Path) -> None:
        with pytest.raises(UserError, match="not there"):
            Predictor(write_best(tmp_path, "nnunet__gone"), "cpu")

    def test_it_stands_alone(self, two: list[Path], tmp_path: Path) -> None:
        with pytest.raises(UserError, match="stands for all models"):
            Predictor([write_best(tmp_path, "nnunet__first"), two[1]], "cpu")

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("members", []),
            ("members", [{"model": "../elsewhere", "folds": ["0"]}]),
            ("members", [{"model": "nnunet__first", "folds": ["../0"]}]),
            ("score", 2.0),
            ("more", 1),
        ],
    )
    def test_a_file_that_is_not_valid_is_refused(self, tmp_path: Path, field: str, value: Any) -> None:
        file = write_best(tmp_path, "nnunet__first")
        file.write_text(json.dumps({**json.loads(file.read_text()), field: value}))
        with pytest.raises(UserError, match=r"best\.json is not valid"):
            Predictor(file, "cpu")
