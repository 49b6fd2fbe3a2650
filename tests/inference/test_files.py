"""What prediction reads and writes: other orientations, failures, what is kept, and where nothing may be written."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.dataset.builder import names_in, write_dataset, write_image
from tests.inference.models import COLOUR_FILES, make_image, write_weights
from tests.orientations import values_in_space, write_along
from tests.training.factories import make_network
from umseg.cli.app import app
from umseg.common.errors import UserError
from umseg.common.files import write_text
from umseg.common.processes.shared import members
from umseg.dataset.dataset import survey_cases
from umseg.inference import Predictor
from umseg.inference.model import LoadedModel
from umseg.inference.pipeline.failure_list import FAILURES
from umseg.inference.pipeline.output_place import refuse_place
from umseg.inference.pipeline.record import RECORD
from umseg.inference.segmenter import Segmentation
from umseg.models.card import load_card

IMAGES = ("a", "b", "c")


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    for seed, case in enumerate(IMAGES):
        write_image(tmp_path / "in" / f"{case}_0000.nii.gz", make_image(seed=seed))
    return tmp_path / "in"


def stamps(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.nii.gz")}


def orient(model: Path, axes: str | None) -> Predictor:
    load_card(model).model_copy(update={"orientation": axes}).save(model / "model.json")
    return Predictor(model, "cpu", precision="fp32")


class TestOrientation:
    @pytest.mark.parametrize("axes", ["LAS", "LPI", "PSR", "SAR"])
    def test_images_are_turned_and_label_maps_back(
        self, model: Path, tmp_path: Path, axes: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        predictor, image = orient(model, "RAS"), make_image((8, 8, 8))
        for name, stored in (("same", "RAS"), ("other", axes)):
            write_along(tmp_path / "in" / f"{name}_0000.nii.gz", image, stored, np.eye(4))
        with caplog.at_level(logging.WARNING):
            other, same = predictor.predict_files(tmp_path / "in", tmp_path / "out", quiet=True)
        np.testing.assert_array_equal(values_in_space(other), values_in_space(same))
        assert len(np.unique(values_in_space(same))) > 1
        (line,) = (record.getMessage() for record in caplog.records if "turned" in record.getMessage())
        assert "1 image was turned to RAS" in line
        assert f"other ({axes})" in line

    def test_a_model_of_mixed_or_unknown_images_takes_them_as_they_are(
        self, model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = write_along(tmp_path / "in" / "a.nii.gz", make_image(), "LPI")
        with caplog.at_level(logging.WARNING):
            (as_stored,) = orient(model, None).predict_files(path, tmp_path / "out", quiet=True)
            (same,) = orient(model, "LPI").predict_files(path, tmp_path / "same", quiet=True)
        assert as_stored.read_bytes() == same.read_bytes()
        assert "turned" not in caplog.text

    def test_an_array_is_taken_as_it_is(self, model: Path) -> None:
        image = make_image()[None]
        expected = orient(model, None).predict(image, (1.0, 1.0, 1.0))
        np.testing.assert_array_equal(orient(model, "LPI").predict(image, (1.0, 1.0, 1.0)), expected)

    def test_the_card_says_in_which_order_axes_are(self, model: Path) -> None:
        assert '"orientation": null' in (model / "model.json").read_text()
        earlier = (model / "model.json").read_text().replace(',\n  "orientation": null', "")
        assert "orientation" not in earlier
        write_text(model / "model.json", earlier)
        assert load_card(model).orientation is None


class TestFailures:
    def test_all_failures_are_listed_and_the_others_are_written(
        self, model: Path, inputs: Path, tmp_path: Path
    ) -> None:
        (inputs / "a_0000.nii.gz").write_bytes(b"no image")
        write_image(inputs / "d_0000.nii.gz", make_image())
        write_image(inputs / "d_0001.nii.gz", make_image())
        done = run(model, inputs, tmp_path / "out")
        assert done.exit_code == 1
        assert "2 cases could not be segmented" in done.output
        assert "wrong number of channels" in done.output
        assert str(inputs / "a_0000.nii.gz") in done.output
        assert names_in(tmp_path / "out") == [
            *("b.nii.gz", "c.nii.gz", "dataset.json"),
            FAILURES,
            *COLOUR_FILES,
            RECORD,
        ]

    @pytest.mark.parametrize("count", [1, 2])
    def test_that_no_case_could_be_segmented_is_an_error(self, model: Path, tmp_path: Path, count: int) -> None:
        for name in ("a", "b")[:count]:
            path = write_image(tmp_path / "in" / f"{name}_0000.nii.gz", make_image())
            path.write_bytes(b"no image")
        done = run(model, tmp_path / "in", tmp_path / "out")
        assert done.exit_code == 2
        assert ("Case a was not segmented" if count == 1 else "None of the 2 cases could be segmented") in done.output
        assert "keeps the label maps" not in done.output

    def test_nothing_that_could_be_segmented_is_an_error_at_the_start(self, model: Path, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        done = run(model, tmp_path / "in", tmp_path / "out")
        assert done.exit_code == 2
        assert not (tmp_path / "out").exists()

    def test_an_interrupted_run_says_how_to_go_on(
        self,
        predictor: Predictor,
        inputs: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        real = LoadedModel.segment
        calls = iter(range(9))

        def interrupt(self: LoadedModel, *arguments: Any) -> Segmentation:
            if next(calls) == 2:
                raise KeyboardInterrupt
            return real(self, *arguments)

        monkeypatch.setattr(LoadedModel, "segment", interrupt)
        with pytest.raises(KeyboardInterrupt), caplog.at_level(logging.WARNING):
            predictor.predict_files(inputs, tmp_path / "out", quiet=True)
        assert "Stopped: 2 of 3 label maps are in" in caplog.text
        before = stamps(tmp_path / "out")
        assert sorted(before) == ["a.nii.gz", "b.nii.gz"]
        predictor.predict_files(inputs, tmp_path / "out", quiet=True, resume=True)
        assert stamps(tmp_path / "out").items() > before.items()


class TestResume:
    def test_what_is_there_is_kept(self, predictor: Predictor, inputs: Path, tmp_path: Path) -> None:
        written = predictor.predict_files(inputs, tmp_path / "out", quiet=True)
        before = stamps(tmp_path / "out")
        assert predictor.predict_files(inputs, tmp_path / "out", quiet=True, resume=True) == written
        assert stamps(tmp_path / "out") == before

    @pytest.mark.parametrize("change", ["model", "step", "image", "label map", "removed"])
    def test_what_no_longer_fits_is_made_again(
        self, predictor: Predictor, model: Path, inputs: Path, tmp_path: Path, change: str
    ) -> None:
        output = tmp_path / "out"
        predictor.predict_files(inputs, output, quiet=True)
        before = stamps(output)
        step = 0.5
        if change == "model":
            write_weights(model, "0", make_network(seed=5))
        elif change == "step":
            step = 0.25
        elif change == "image":
            write_image(inputs / "b_0000.nii.gz", make_image(seed=9))
        elif change == "label map":
            # As a killed run leaves it: begun, and not recorded as whole.
            with (output / "predictions.jsonl").open("a") as handle:
                handle.write('{"file": "b.nii.gz"}\n{"file": "c.n')
        else:
            (output / "b.nii.gz").unlink()
        again = Predictor(model, "cpu", precision="fp32", step=step)
        again.predict_files(inputs, output, quiet=True, resume=True)
        made = {name for name, stamp in stamps(output).items() if stamp != before[name]}
        assert made == ({"a.nii.gz", "b.nii.gz", "c.nii.gz"} if change in ("model", "step") else {"b.nii.gz"})


class TestOutput:
    def test_an_earlier_prediction_is_replaced(self, predictor: Predictor, inputs: Path, tmp_path: Path) -> None:
        written = predictor.predict_files(inputs, tmp_path / "out", quiet=True)
        before = {path: path.read_bytes() for path in written}
        (tmp_path / "out" / ".tmp-1234-c.nii.gz").write_text("left by a killed run")
        assert predictor.predict_files(inputs, tmp_path / "out", quiet=True) == written
        assert {path: path.read_bytes() for path in written} == before
        assert names_in(tmp_path / "out") == [
            *(f"{case}.nii.gz" for case in IMAGES),
            "dataset.json",
            *COLOUR_FILES,
            "predictions.jsonl",
        ]

    @pytest.mark.parametrize("name", ["b.nii.gz", "dataset.json"])
    def test_what_umseg_did_not_write_is_kept(
        self, predictor: Predictor, inputs: Path, tmp_path: Path, name: str
    ) -> None:
        output = tmp_path / "out"
        predictor.predict_files(inputs, output, quiet=True)
        (output / name).write_bytes(b"corrected by hand")
        for resume in (False, True):
            with pytest.raises(UserError, match="umseg did not write") as caught:
                predictor.predict_files(inputs, output, quiet=True, resume=resume)
            assert caught.value.found == name
            assert "--overwrite" in str(caught.value.remedy)
        assert (output / name).read_bytes() == b"corrected by hand"
        predictor.predict_files(inputs, output, quiet=True, overwrite=True)
        assert (output / name).read_bytes() != b"corrected by hand"

    @pytest.mark.parametrize(
        ("place", "message"),
        [
            ("in", "is the input folder"),
            ("Dataset1", "is a data set"),
            ("Dataset1/labelsTr", "is part of a data set"),
            ("Dataset1/imagesTr", "is part of a data set"),
            ("Dataset1/labelsTs", "is part of a data set"),
            ("ws/Dataset1", "is a workspace"),
            ("ws/Dataset1/preprocessed/2d", "part of one"),
            ("ws/Dataset1/models/new", "part of one"),
            ("nnunet__small", "is a model folder"),
            ("nnunet__small/fold_0/validation", "part of one"),
            ("link", "is part of a data set"),
            ("note.txt", "is a file"),
        ],
    )
    def test_places_that_are_never_written(
        self, predictor: Predictor, inputs: Path, tmp_path: Path, place: str, message: str
    ) -> None:
        write_dataset(tmp_path / "Dataset1")
        write_text(tmp_path / "ws" / "Dataset1" / "plan.json", "{}")
        write_text(tmp_path / "note.txt", "mine")
        if hasattr(os, "geteuid"):
            (tmp_path / "link").symlink_to(tmp_path / "Dataset1" / "labelsTr")
        elif place == "link":
            pytest.skip("links need rights on Windows")
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(UserError, match=message):
            predictor.predict_files(inputs, tmp_path / place, quiet=True, overwrite=True)
        assert sorted(tmp_path.rglob("*")) == before

    @pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
    def test_a_folder_of_links_to_images_is_an_input_folder(
        self, predictor: Predictor, inputs: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "links").mkdir()
        link = tmp_path / "links" / "a_0000.nii.gz"
        link.symlink_to(inputs / "a_0000.nii.gz")
        for place in (tmp_path / "links", inputs):
            with pytest.raises(UserError, match="is the input folder"):
                predictor.predict_files(link, place, quiet=True)
        assert list((tmp_path / "links").iterdir()) == [link]

    def test_folders_beside_models_and_data_are_written(self, model: Path, inputs: Path, tmp_path: Path) -> None:
        write_dataset(tmp_path / "Dataset1")
        write_text(tmp_path / "ws" / "Dataset1" / "plan.json", "{}")
        cases, _ = survey_cases([inputs], 1, ".nii.gz")
        for place in ("Dataset1/predictions", "ws/Dataset1/predictions", "nnunet__small/predictions", "in/out"):
            refuse_place(tmp_path / place, [inputs], cases)
        with pytest.raises(UserError, match="is the input folder"):
            refuse_place(inputs, [inputs / "a_0000.nii.gz"], cases)

    def test_the_process_is_known_to_others_while_it_works(
        self, predictor: Predictor, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found: list[int] = []
        real = LoadedModel.segment

        def look(self: LoadedModel, *arguments: Any) -> Segmentation:
            found.extend(member.process.pid for member in members(tmp_path / "out"))
            return real(self, *arguments)

        monkeypatch.setattr(LoadedModel, "segment", look)
        predictor.predict_files(inputs, tmp_path / "out", quiet=True)
        assert found == [os.getpid()] * len(IMAGES)
        assert members(tmp_path / "out") == []


def run(model: Path, inputs: Path, output: Path, *more: str) -> Any:
    arguments = ["--model", str(model), "--input", str(inputs), "--output", str(output), "--quiet", *more]
    return CliRunner().invoke(app, ["predict", *arguments])


def test_several_inputs_on_the_command_line(model: Path, inputs: Path, tmp_path: Path) -> None:
    shutil.move(inputs / "c_0000.nii.gz", tmp_path / "c_0000.nii.gz")
    done = run(model, inputs, tmp_path / "out", str(tmp_path / "c_0000.nii.gz"))
    assert done.exit_code == 0, done.output
    assert sorted(stamps(tmp_path / "out")) == ["a.nii.gz", "b.nii.gz", "c.nii.gz"]


def test_mirroring_that_has_no_effect_is_told(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    load_card(model).model_copy(update={"mirror_axes": ()}).save(model / "model.json")
    with caplog.at_level(logging.WARNING):
        Predictor(model, "cpu", mirror=True)
    assert "--mirror has no effect" in caplog.text


def test_all_folds_are_not_fold_all(model: Path) -> None:
    with pytest.raises(UserError, match="incomplete") as caught:
        Predictor(model, "cpu", folds=["all"])
    assert "Leave out --folds" in str(caught.value.remedy)


def test_progress_within_a_case(predictor: Predictor) -> None:
    told: list[tuple[int, int]] = []
    stages = predictor.model.prepare(make_image((40, 9, 9))[None], (1.0, 1.0, 1.0))
    predictor.model.segment(stages, lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1] == told[0][1]
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert len(told) > 1
