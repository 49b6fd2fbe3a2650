"""A case is read along one set of axes, whatever those of its files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.dataset.builder import make_case
from tests.orientations import write_along
from umseg.dataset.dataset import Case
from umseg.dataset.training_case import read_training_case

IMAGE, LABEL = make_case(0)


def write(folder: Path, image_axes: str, label_axes: str) -> Case:
    return Case(
        id="a",
        images=(write_along(folder / f"a_{image_axes}{label_axes}_0000.nii.gz", IMAGE, image_axes),),
        label=write_along(folder / f"a_{image_axes}{label_axes}.nii.gz", LABEL, label_axes),
    )


def test_files_are_used_as_they_are_stored(tmp_path: Path) -> None:
    found = read_training_case(write(tmp_path, "RAS", "RAS"), 1, None)
    np.testing.assert_array_equal(found.image.array[0], IMAGE)
    np.testing.assert_array_equal(found.label.array, LABEL)
    assert found.stored_axes == "RAS"
    assert not found.image.notices


def test_images_and_label_maps_are_turned(tmp_path: Path) -> None:
    expected = read_training_case(write(tmp_path, "RAS", "RAS"), 1, None)
    found = read_training_case(write(tmp_path, "PIL", "PIL"), 1, "RAS")
    np.testing.assert_array_equal(found.image.array, expected.image.array)
    np.testing.assert_array_equal(found.label.array, expected.label.array)
    assert found.stored_axes == "PIL"
    assert not found.image.notices


def test_a_label_map_along_other_axes_is_turned_to_its_image(tmp_path: Path) -> None:
    found = read_training_case(write(tmp_path, "RAS", "LSP"), 1, None)
    np.testing.assert_array_equal(found.label.array, LABEL)
    assert found.label.geometry.size == found.image.geometry.size
    (notice,) = found.image.notices
    assert (notice.found, notice.expected) == ("LSP", "RAS, as the image")
