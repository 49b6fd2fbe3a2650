"""The order of the steps, and whole data sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.preprocess.cases import make_configuration, make_image, make_label, make_plan, write_dataset
from umseg.common.errors import UserError
from umseg.dataset import training_case
from umseg.dataset.check.digest import case_digest
from umseg.dataset.dataset import Dataset
from umseg.dataset.io.images import Image, read_image
from umseg.planning.plan import Plan
from umseg.preprocess import CaseStore, case_origins, preprocess_case, preprocess_dataset
from umseg.preprocess import preprocess as module

SHAPE = (12, 18, 20)
SPACING = (2.0, 1.0, 0.8)


def test_geometry_of_a_transposed_case() -> None:
    plan = make_plan((2, 0, 1), full=make_configuration((1.0, 1.0, 0.5)))
    case = preprocess_case(make_image(SHAPE, margin=2), SPACING, plan, "full", make_label(SHAPE))
    properties = case.properties
    assert properties.spacing == (0.8, 2.0, 1.0)
    assert properties.shape_before_cropping == (20, 12, 18)
    assert properties.bbox == ((2, 18), (2, 10), (2, 16))
    assert properties.shape_after_cropping == (16, 8, 14)
    assert properties.shape_after_resampling == (13, 16, 28)
    assert case.data.shape == (1, 13, 16, 28)
    assert case.label is not None
    assert case.label.shape == (13, 16, 28)


def test_transposing_first_is_the_same_as_transposed_files() -> None:
    order = (1, 2, 0)
    image, label = make_image(SHAPE), make_label(SHAPE)
    configuration = make_configuration((1.0, 1.0, 1.0))
    first = preprocess_case(image, SPACING, make_plan(order, full=configuration), "full", label)
    moved = np.transpose(image, (0, *(axis + 1 for axis in order)))
    spacing = (SPACING[order[0]], SPACING[order[1]], SPACING[order[2]])
    second = preprocess_case(moved, spacing, make_plan(full=configuration), "full", np.transpose(label, order))
    np.testing.assert_array_equal(first.data, second.data)
    np.testing.assert_array_equal(first.label, second.label)


def test_a_2d_configuration_keeps_the_first_axis() -> None:
    plan = make_plan(flat=make_configuration((2.0, 0.4)))
    case = preprocess_case(make_image(SHAPE, margin=0), SPACING, plan, "flat", make_label(SHAPE))
    assert case.data.shape == (1, 12, 9, 40)


def test_normalised_before_resampled() -> None:
    image = make_image(SHAPE, margin=0)
    same = make_plan(full=make_configuration(SPACING))
    np.testing.assert_allclose(preprocess_case(image, SPACING, same, "full").data.std(), 1, atol=1e-5)
    coarse = make_plan(full=make_configuration((4.0, 2.0, 1.6)))
    assert preprocess_case(image, SPACING, coarse, "full").data.std() < 0.9, "resampling smooths what was normalised"


def test_outside_is_marked_where_the_label_is_background() -> None:
    image = make_image(SHAPE, margin=0)
    image[0, :, :5, :5] = 0
    label = make_label(SHAPE)
    case = preprocess_case(image, SPACING, make_plan(full=make_configuration(SPACING)), "full", label)
    outside = image[0] == 0
    expected = np.where(outside & (label == 0), -1, label)
    np.testing.assert_array_equal(case.label, expected)


def test_masked_statistics_include_labelled_voxels() -> None:
    image = make_image(SHAPE, margin=0)
    image[0, :, :5, :5] = 0
    label = make_label(SHAPE)
    plan = make_plan(full=make_configuration(SPACING, use_mask=True))
    known = (image[0] != 0) | (label > 0)
    case = preprocess_case(image, SPACING, plan, "full", label)
    np.testing.assert_allclose(case.data[0][known].mean(), 0, atol=1e-6)
    np.testing.assert_allclose(case.data[0][known].std(), 1, atol=1e-5)
    assert not case.data[0][~known].any()
    alone = preprocess_case(image, SPACING, plan, "full")
    np.testing.assert_allclose(alone.data[0][image[0] != 0].mean(), 0, atol=1e-6)


@pytest.mark.parametrize(("largest", "dtype"), [(127, np.int8), (128, np.int16)])
def test_label_dtype(largest: int, dtype: type) -> None:
    label = make_label(SHAPE)
    label[label == 2] = largest
    plan = make_plan(full=make_configuration((1.0, 1.0, 1.0)))
    case = preprocess_case(make_image(SHAPE), SPACING, plan, "full", label)
    assert case.label is not None
    assert case.label.dtype == dtype
    assert case.label.max() == largest
    assert list(case.class_locations) == [1, largest]


def test_listed_classes_are_there_even_if_empty() -> None:
    plan = make_plan(full=make_configuration((1.0, 1.0, 1.0)))
    case = preprocess_case(
        make_image(SHAPE), SPACING, plan, "full", make_label(SHAPE), classes={1: [1], 2: [2], 7: [7]}
    )
    assert list(case.class_locations) == [1, 2, 7]
    assert len(case.class_locations[7]) == 0
    assert len(case.class_locations[2]) > 0


def test_inputs_are_not_changed() -> None:
    image, label = make_image(SHAPE), make_label(SHAPE)
    before = image.copy(), label.copy()
    plan = make_plan(full=make_configuration(SPACING, scheme="RescaleTo01Normalization"))
    preprocess_case(image, SPACING, plan, "full", label)
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(label, before[1])


def test_an_empty_image_stays_finite() -> None:
    plan = make_plan(full=make_configuration((1.0, 1.0, 1.0), use_mask=True))
    case = preprocess_case(np.zeros((1, *SHAPE), np.float32), SPACING, plan, "full", np.zeros(SHAPE, np.int16))
    assert not case.data.any()
    assert case.properties.shape_after_cropping == SHAPE


def test_wrong_number_of_channels() -> None:
    plan = make_plan(full=make_configuration((1.0, 1.0, 1.0), channels=2))
    with pytest.raises(UserError, match="numbers of channels") as caught:
        preprocess_case(make_image(SHAPE), SPACING, plan, "full")
    assert (caught.value.found, caught.value.expected) == ("1 channel", "2 channels")


def test_unknown_configuration() -> None:
    with pytest.raises(UserError, match="full"):
        preprocess_case(make_image(SHAPE), SPACING, make_plan(full=make_configuration(SPACING)), "3d_huge")


def test_label_of_another_shape() -> None:
    plan = make_plan(full=make_configuration((1.0, 1.0, 1.0)))
    with pytest.raises(ValueError, match=r"\(12, 18, 19\)"):
        preprocess_case(make_image(SHAPE), SPACING, plan, "full", np.zeros((12, 18, 19), np.int16))


def preprocess(dataset: Dataset, plan: Plan, folders: dict[str, Path], workers: int = 0) -> dict[str, CaseStore]:
    digests = [case_digest(case) for case in dataset.cases]
    origins = {name: case_origins(dataset, digests, plan, plan.configuration(name)) for name in folders}
    return preprocess_dataset(dataset, plan, folders, origins, workers=workers, quiet=True)


def test_a_data_set_is_the_same_with_and_without_workers(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "Dataset900_Small")
    plan = make_plan((0, 2, 1), full=make_configuration((1.5, 1.0, 1.0), channels=2))
    alone, together = (
        preprocess(dataset, plan, {"full": tmp_path / str(workers)}, workers)["full"] for workers in (0, 2)
    )
    assert alone.case_ids() == together.case_ids() == ("case0", "case1", "case2")
    names = sorted(path.name for path in alone.folder.iterdir())
    assert names == sorted(path.name for path in together.folder.iterdir())
    for name in names:
        assert (alone.folder / name).read_bytes() == (together.folder / name).read_bytes(), name
    stored = alone.open("case1")
    assert stored.data.shape == (2, *stored.properties.shape_after_resampling)
    assert list(stored.class_locations) == [1, 2]


@pytest.mark.parametrize(("most_kept", "times"), [(2**29, 1), (1000, 2)])
def test_an_image_is_read_once_unless_it_is_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most_kept: int, times: int
) -> None:
    dataset = write_dataset(tmp_path / "Dataset900_Small")
    plan = make_plan(
        full=make_configuration((1.5, 1.0, 1.0), channels=2), flat=make_configuration((2.0, 2.0), channels=2)
    )
    one_by_one = [preprocess(dataset, plan, {name: tmp_path / "alone" / name})[name] for name in ("full", "flat")]
    read: list[Path] = []

    def counted(paths: Sequence[Path], channels: int) -> Image:
        read.extend(paths)
        return read_image(paths, channels)

    monkeypatch.setattr(training_case, "read_image", counted)
    monkeypatch.setattr(module, "_MOST_KEPT_BYTES", most_kept)
    folders = {store.folder.name: tmp_path / "together" / store.folder.name for store in one_by_one}
    preprocess(dataset, plan, folders)
    assert sorted(read) == sorted(times * [path for case in dataset.cases for path in case.images])
    for store in one_by_one:
        for path in store.folder.iterdir():
            assert path.read_bytes() == (folders[store.folder.name] / path.name).read_bytes(), path.name
    preprocess(dataset, plan, folders)
    assert len(read) == times * 6, "nothing is left to do"


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "Dataset900_Small")
    damaged = dataset.cases[1].images[0]
    damaged.write_bytes(damaged.read_bytes()[:200])
    plan = make_plan(full=make_configuration((1.5, 1.0, 1.0), channels=2))
    with pytest.raises(UserError) as caught:
        preprocess(dataset, plan, {"full": tmp_path / "store"})
    assert str(damaged) in str(caught.value)
