"""The post-processing of a fold's predictions: its record, several folds, and what a predictor makes of it."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.dataset.builder import write_image
from tests.inference.models import write_model
from umseg.common.errors import UserError
from umseg.dataset.check.digest import digest_of_record
from umseg.inference import Predictor
from umseg.inference.pipeline.record import Settings
from umseg.inference.postprocessing.instances import Postprocessing, combined, described, find_cleaning
from umseg.preprocess.instance_cleaning import Cleaning
from umseg.workspace import FoldFolder

OBJECTS: dict[str, Any] = {"task": "instance", "labels": {"background": 0, "cell": 1}, "file_ending": ".png"}


def choose(model: Path, fold: str, smallest: int, fill_holes: bool = False) -> FoldFolder:
    folder = FoldFolder(model / f"fold_{fold}")
    Postprocessing(smallest=smallest, fill_holes=fill_holes, cases=3, F1_before=0.5, F1_after=0.6).save(
        folder.postprocessing_file
    )
    return folder


def segment(model: Path, **options: Any) -> NDArray[Any]:
    image = np.random.default_rng(0).integers(0, 4, (1, 1, 24, 30)).astype(np.float32)
    return Predictor(model, "cpu", precision="fp32", **options).predict(image, (999.0, 1.0, 1.0))


@pytest.mark.parametrize(
    ("choices", "expected"),
    [
        ([(7, True)], (7, True)),
        ([(0, False), (20, True)], (0, False)),
        ([(30, True), (0, False), (20, True)], (20, True)),
        ([(30, True), (0, False), (10, True), (20, False)], (10, False)),
    ],
)
def test_several_folds_agree_on_the_median(choices: list[tuple[int, bool]], expected: tuple[int, bool]) -> None:
    found = combined([Cleaning(smallest=size, fill_holes=fill) for size, fill in choices])
    assert (found.smallest, found.fill_holes) == expected


def test_what_is_done_in_words() -> None:
    both = described(Cleaning(smallest=1500, fill_holes=True))
    assert both == "objects of fewer than 1,500 voxels are removed and holes in objects are filled"
    assert described(Cleaning(smallest=0, fill_holes=True)) == "holes in objects are filled"


def test_a_predictor_cleans_as_its_folds_chose(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = write_model(tmp_path / "model", ("0", "1"), dimensions=2, **OBJECTS)
    plain = segment(model)
    sizes = np.bincount(plain.ravel())[1:]
    smallest = int(np.median(sizes)) + 1
    choose(model, "0", smallest, fill_holes=True)
    choose(model, "1", smallest, fill_holes=True)
    with caplog.at_level(logging.INFO, "umseg"):
        cleaned = segment(model)
    np.testing.assert_array_equal(cleaned, Cleaning(smallest=smallest, fill_holes=True).apply(plain))
    assert 0 < cleaned.max() < plain.max()
    assert f"objects of fewer than {smallest} voxels are removed and holes in objects are filled" in caplog.text
    assert "in 2 folds" in caplog.text
    np.testing.assert_array_equal(segment(model, postprocessing=False), plain)


def test_folds_without_a_choice_stay_as_they_are(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = write_model(tmp_path / "model", ("0", "1"), dimensions=2, **OBJECTS)
    plain = segment(model)
    assert "ost-processing" not in caplog.text
    choose(model, "0", 10**6)
    np.testing.assert_array_equal(segment(model), plain)
    assert "its choice is missing in fold 1." in caplog.text
    assert not segment(model, folds=["0"]).any()


def test_a_choice_of_nothing_changes_nothing(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", dimensions=2, **OBJECTS)
    settings = Predictor(model, "cpu", precision="fp32").model.settings
    fold = choose(model, "0", 0)
    assert find_cleaning([fold]) is None
    assert Predictor(model, "cpu", precision="fp32").model.settings == settings


def test_label_maps_of_classes_are_never_cleaned(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", dimensions=2)
    plain = segment(model)
    choose(model, "0", 10**6)
    np.testing.assert_array_equal(segment(model), plain)


def test_resuming_repeats_label_maps_of_another_cleaning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = write_model(tmp_path / "model", dimensions=2, **OBJECTS)
    image = np.random.default_rng(0).integers(0, 4, (24, 30)).astype(np.uint8)
    path = write_image(tmp_path / "in" / "a_0000.png", image)
    choose(model, "0", 2)

    def kept(**options: Any) -> bool:
        caplog.clear()
        with caplog.at_level(logging.INFO, "umseg"):
            Predictor(model, "cpu", **options).predict_files(path, tmp_path / "out", quiet=True, resume=True)
        return "Keeping 1 label map" in caplog.text

    assert [kept(), kept(), kept(postprocessing=False), kept(postprocessing=False)] == [False, True, False, True]
    assert not kept()


def test_settings_without_cleaning_are_those_of_earlier_versions() -> None:
    fields: dict[str, Any] = {"card": "c", "weights": {"0": "w"}, "step": 0.5, "mirror_axes": (), "precision": "fp32"}
    plain = Settings(**fields)
    assert set(plain.model_dump()) == {*fields, "first_stage"}
    cleaned = Settings(**fields, cleaning=Cleaning(smallest=3, fill_holes=False))
    assert digest_of_record(cleaned) != digest_of_record(plain)


@pytest.mark.parametrize(
    ("field", "value"),
    [("smallest", -1), ("smallest", 2**60), ("smallest", 2.5), ("fill_holes", "maybe"), ("F1_after", 1.5), ("more", 1)],
)
def test_a_record_that_is_not_valid_is_refused(tmp_path: Path, field: str, value: object) -> None:
    model = write_model(tmp_path / "model", dimensions=2, **OBJECTS)
    file = choose(model, "0", 2).postprocessing_file
    file.write_text(json.dumps({**json.loads(file.read_text()), field: value}))
    with pytest.raises(UserError, match=field) as caught:
        Predictor(model, "cpu")
    assert caught.value.file == str(file)
    assert caught.value.remedy
    Predictor(model, "cpu", postprocessing=False)
