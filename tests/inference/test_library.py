"""``Predictor`` in programs: images of several kinds, batches, streams, probabilities and threads."""

# nibabel's methods carry no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray

from tests.dataset.builder import write_image
from tests.inference.models import make_image, write_model
from tests.orientations import write_along
from umseg.common.errors import UserError
from umseg.dataset.io.images import read_label
from umseg.inference import Predictor
from umseg.inference.model import LoadedModel
from umseg.models.card import load_card

SPACING = (1.0, 1.0, 1.0)
SECONDS = 30.0


def pictures(count: int = 5) -> list[NDArray[np.float32]]:
    return [make_image((1, 12 + seed, 10), seed=seed)[None] for seed in range(count)]


@pytest.fixture
def flat(tmp_path: Path) -> Predictor:
    return Predictor(write_model(tmp_path / "flat", dimensions=2), "cpu", precision="fp32")


class TestKinds:
    def test_images_get_label_maps_of_their_kind_as_files_do(self, model: Path, tmp_path: Path) -> None:
        load_card(model).model_copy(update={"orientation": "RAS"}).save(model / "model.json")
        predictor = Predictor(model, "cpu", precision="fp32")
        path = write_along(tmp_path / "in" / "a_0000.nii.gz", make_image(), "PIR", np.diag([2.0, 1.5, 1.0, 1.0]))
        (written,) = predictor.predict_files(path, tmp_path / "out", quiet=True)
        expected = read_label(written).array
        of_itk = predictor.predict(sitk.ReadImage(str(path)))
        of_nibabel = predictor.predict(nibabel.load(path))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(of_itk), expected)
        np.testing.assert_array_equal(np.asanyarray(of_nibabel.dataobj).T, expected)
        np.testing.assert_allclose(of_nibabel.affine, nibabel.Nifti1Image.from_filename(path).affine)
        assert of_itk.GetDirection() == pytest.approx(sitk.ReadImage(str(path)).GetDirection())
        # An array says nothing of its axes: the same voxels give other labels.
        as_array = predictor.predict(sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[None], SPACING)
        assert not np.array_equal(as_array, expected)

    def test_a_loaded_model_and_a_path_as_text_are_taken(self, model: Path, predictor: Predictor) -> None:
        image = make_image()[None]
        expected = predictor.predict(image, SPACING)
        for given in (str(model), predictor.model):
            np.testing.assert_array_equal(Predictor(given, "cpu", precision="fp32").predict(image, SPACING), expected)


class TestProbabilities:
    @pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
    def test_the_most_probable_class_is_the_label(self, tmp_path: Path, order: tuple[int, int, int]) -> None:
        predictor = Predictor(write_model(tmp_path / "model", order=order), "cpu", precision="fp32")
        image = make_image()[None]
        label_map, probabilities = predictor.predict(image, (2.0, 1.0, 0.5), probabilities=True)
        assert probabilities.shape == (3, *image.shape[1:])
        np.testing.assert_allclose(probabilities.sum(0), 1, atol=1e-5)
        np.testing.assert_array_equal(probabilities.argmax(0), label_map)
        np.testing.assert_array_equal(predictor.predict(image, (2.0, 1.0, 0.5)), label_map)
        assert len(np.unique(label_map)) > 1

    def test_they_lie_along_the_axes_of_the_image(self, model: Path) -> None:
        load_card(model).model_copy(update={"orientation": "LPS"}).save(model / "model.json")
        predictor = Predictor(model, "cpu", precision="fp32")
        image = nibabel.Nifti1Image(make_image().T, np.diag([1.0, 1.0, 1.0, 1.0]))
        label_map, probabilities = predictor.predict(image, probabilities=True)
        np.testing.assert_array_equal(probabilities.argmax(0), np.asanyarray(label_map.dataobj).T)

    def test_each_region_has_its_own(self, tmp_path: Path) -> None:
        regions = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "rim": [1, 3]}
        folder = write_model(tmp_path / "model", labels=regions, regions_class_order=(1, 3, 2))
        label_map, probabilities = Predictor(folder, "cpu", precision="fp32").predict(
            make_image()[None], SPACING, probabilities=True
        )
        whole, core, rim = probabilities > 0.5
        np.testing.assert_array_equal(label_map, np.where(rim, 2, np.where(core, 3, np.where(whole, 1, 0))))
        assert len(np.unique(label_map)) > 2


class TestBatch:
    def test_label_maps_are_those_of_single_images(self, predictor: Predictor) -> None:
        images = [make_image((9, 8 + seed, 10), seed=seed)[None] for seed in range(3)]
        spacings = [(1.0, 1.0, 1.0), (2.0, 1.0, 1.0), (1.0, 1.5, 1.0)]
        found = predictor.predict_batch(images, spacings)
        assert len(found) == 3
        for label_map, image, spacing in zip(found, images, spacings, strict=True):
            np.testing.assert_array_equal(label_map, predictor.predict(image, spacing))

    def test_small_pictures_go_through_the_network_together(
        self, flat: Predictor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        together: list[int] = []
        real = LoadedModel.segment_small

        def count(self: LoadedModel, several: Any) -> Any:
            together.append(len(several))
            return real(self, several)

        monkeypatch.setattr(LoadedModel, "segment_small", count)
        images = pictures()
        found = flat.predict_batch(images, SPACING)
        assert together == [len(images)]
        for label_map, image in zip(found, images, strict=True):
            np.testing.assert_array_equal(label_map, flat.predict(image, SPACING))

    def test_pictures_of_files_go_together_and_keep_their_geometry(self, flat: Predictor, tmp_path: Path) -> None:
        for number, image in enumerate(pictures()):
            write_image(tmp_path / "in" / f"p{number}_0000.nii.gz", image[0], (0.5, 0.5, 2.0))
        written = flat.predict_files(tmp_path / "in", tmp_path / "out", quiet=True)
        for path, image in zip(written, pictures(), strict=True):
            np.testing.assert_array_equal(read_label(path).array, flat.predict(image, (2.0, 0.5, 0.5)))

    def test_kinds_may_be_mixed(self, predictor: Predictor) -> None:
        image = make_image()
        array, itk = predictor.predict_batch([image[None], sitk.GetImageFromArray(image)], [SPACING, None])
        np.testing.assert_array_equal(array, sitk.GetArrayFromImage(itk))

    def test_one_that_cannot_be_segmented_is_an_error(self, predictor: Predictor) -> None:
        with pytest.raises(UserError, match="does not have the channels"):
            predictor.predict_batch([make_image()[None], np.zeros((2, 4, 4, 4), np.float32)], SPACING)
        with pytest.raises(ValueError, match="zip"):
            predictor.predict_batch([make_image()[None]], [SPACING, SPACING])
        assert predictor.predict_batch([]) == []


class TestStream:
    def test_results_come_in_order(self, predictor: Predictor) -> None:
        images = [make_image(seed=seed)[None] for seed in range(4)]
        given: list[Any] = [(images[0], SPACING), images[1], sitk.GetImageFromArray(images[2][0]), images[3]]
        found = list(predictor.predict_iter(given, SPACING))
        found[2] = sitk.GetArrayFromImage(found[2])
        for label_map, image in zip(found, images, strict=True):
            np.testing.assert_array_equal(label_map, predictor.predict(image, SPACING))
        assert list(predictor.predict_iter([])) == []

    def test_a_label_map_is_there_before_the_next_image_comes(self, predictor: Predictor) -> None:
        answered = threading.Event()

        def requests() -> Iterator[NDArray[np.float32]]:
            yield make_image()[None]
            assert answered.wait(SECONDS)
            yield make_image(seed=1)[None]

        results = predictor.predict_iter(requests(), SPACING)
        assert next(results).shape == (9, 10, 11)
        answered.set()
        assert len(list(results)) == 1

    def test_the_next_image_is_prepared_while_the_network_works(
        self, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        prepared = threading.Semaphore(0)
        real_prepare, real_label_map = LoadedModel.prepare, LoadedModel.segment

        def prepare(self: LoadedModel, *arguments: Any, **options: Any) -> Any:
            result = real_prepare(self, *arguments, **options)
            prepared.release()
            return result

        def label_map(self: LoadedModel, *arguments: Any) -> Any:
            # Its own preparation, and that of the next image.
            assert prepared.acquire(timeout=SECONDS)
            assert prepared.acquire(timeout=SECONDS)
            prepared.release()
            return real_label_map(self, *arguments)

        monkeypatch.setattr(LoadedModel, "prepare", prepare)
        monkeypatch.setattr(LoadedModel, "segment", label_map)
        results = predictor.predict_iter((make_image(seed=seed)[None] for seed in range(3)), SPACING)
        assert next(results) is not None
        assert next(results) is not None

    def test_an_error_ends_it_or_stands_in_its_place(self, predictor: Predictor) -> None:
        wrong = np.zeros((2, 4, 4, 4), np.float32)
        images = [make_image()[None], wrong, make_image()[None]]
        first, error, last = predictor.predict_iter(images, SPACING, on_error="return")
        assert isinstance(error, UserError)
        np.testing.assert_array_equal(first, last)
        results = predictor.predict_iter(images, SPACING)
        next(results)
        with pytest.raises(UserError, match="does not have the channels"):
            next(results)

    def test_who_stops_asking_does_not_wait(self, predictor: Predictor) -> None:
        forever = threading.Event()

        def requests() -> Iterator[NDArray[np.float32]]:
            yield make_image()[None]
            forever.wait(SECONDS)

        results = predictor.predict_iter(requests(), SPACING)
        next(results)
        results.close()  # type: ignore[attr-defined]
        assert not forever.is_set()
        forever.set()


class TestThreads:
    def test_several_threads_share_a_predictor(self, predictor: Predictor) -> None:
        images = [make_image((9, 10, 7 + seed), seed=seed)[None] for seed in range(4)]
        expected = [predictor.predict(image, SPACING) for image in images]
        found: dict[int, list[NDArray[Any]]] = {}

        def work(number: int) -> None:
            found[number] = [predictor.predict(images[number], SPACING) for _ in range(5)]

        threads = [threading.Thread(target=work, args=(number,)) for number in range(len(images))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for number, label_map in enumerate(expected):
            for again in found[number]:
                np.testing.assert_array_equal(again, label_map)

    def test_one_thread_at_a_time_is_at_the_network(
        self, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        inside, most = 0, 0
        real = LoadedModel.segment

        def label_map(self: LoadedModel, *arguments: Any) -> Any:
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            result = real(self, *arguments)
            inside -= 1
            return result

        monkeypatch.setattr(LoadedModel, "segment", label_map)
        image = make_image()[None]
        threads = [threading.Thread(target=predictor.predict_batch, args=([image] * 3, SPACING)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert most == 1

    def test_no_process_is_started(self, predictor: Predictor, tmp_path: Path) -> None:
        path = write_image(tmp_path / "in" / "a_0000.nii.gz", make_image())
        predictor.predict_files(path, tmp_path / "out", quiet=True)
        predictor.predict_batch([make_image()[None]] * 2, SPACING)
        assert multiprocessing.active_children() == []
