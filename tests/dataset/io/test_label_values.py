from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from umseg.common.errors import UserError
from umseg.dataset.check.case import check_case
from umseg.dataset.dataset import Case
from umseg.dataset.description import DatasetDescription
from umseg.dataset.io.images import read_image, read_label
from umseg.dataset.io.label_values import to_smallest_signed, whole_numbers

PATH = Path("a.nii.gz")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_whole_numbers_stay_without_a_notice(dtype: type) -> None:
    values: np.ndarray = np.array([0, 1, 2, -3], dtype)
    rounded, notices = whole_numbers(values, PATH)
    np.testing.assert_array_equal(rounded, values)
    assert notices == ()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_that_are_almost_whole_are_rounded_with_a_notice(dtype: type) -> None:
    rounded, (notice,) = whole_numbers(np.array([0, 0.9999, 1.99995, 3.0000457], dtype), PATH)
    np.testing.assert_array_equal(rounded, [0, 1, 2, 3])
    assert notice.file == PATH
    assert notice.found == "0.9999 and 2 more such voxels"


@pytest.mark.parametrize(("value", "shown"), [(1.998, "1.998"), (0.5, "0.5"), (np.nan, "nan"), (-np.inf, "-inf")])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_other_values_are_refused_and_shown_with_all_digits(dtype: type, value: float, shown: str) -> None:
    with pytest.raises(UserError, match="not whole numbers") as raised:
        whole_numbers(np.array([0, 1.00005, value], dtype), PATH)
    assert raised.value.found == f"{shown} and 0 more such voxels"


def test_the_value_that_is_shown_is_the_one_farthest_off() -> None:
    with pytest.raises(UserError) as raised:
        whole_numbers(np.array([1.0011, 2.4, 2.9]), PATH)
    assert raised.value.found == "2.4 and 2 more such voxels"


@pytest.mark.parametrize("values", [np.array([2**63], np.uint64), np.array([0, 1e30]), np.array([-1e19])])
def test_values_beyond_64_bits_are_refused(values: np.ndarray) -> None:
    with pytest.raises(UserError, match="too large"):
        to_smallest_signed(values, PATH)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16])
def test_labels_that_nibabel_scaled_are_the_labels_that_were_meant(tmp_path: Path, dtype: type) -> None:
    labels = np.random.default_rng(0).integers(0, 6, (9, 8, 7))
    header = nibabel.Nifti1Header()
    header.set_data_dtype(dtype)
    # nibabel stretches numbers of double precision over the whole range of the header's type.
    nibabel.save(nibabel.Nifti1Image(labels.astype(np.float64), np.eye(4), header), tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_label(tmp_path / "a.nii.gz").array, labels.T)


def test_a_check_of_a_case_tells_what_was_noticed_in_its_label_map(tmp_path: Path) -> None:
    labels = np.zeros((4, 4, 4), np.float32)
    labels[1] = 1.0001
    for name in ("image", "label"):
        nibabel.save(nibabel.Nifti1Image(labels, np.eye(4)), tmp_path / f"{name}.nii.gz")
    case = Case(id="a", images=(tmp_path / "image.nii.gz",), label=tmp_path / "label.nii.gz")
    description = DatasetDescription(
        channel_names={"0": "MRI"}, labels={"background": 0, "a": 1}, numTraining=1, file_ending=".nii.gz"
    )
    assert case.label is not None
    (problem,) = check_case(case, read_image(case.images), read_label(case.label), description)
    assert (problem.severity, problem.file) == ("warning", case.label)
    assert "almost whole" in problem.problem
