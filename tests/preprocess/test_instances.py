from __future__ import annotations

import numpy as np
import pytest

from umseg.preprocess.instances import instance_classes


def test_touching_objects_are_kept_apart() -> None:
    instances = np.zeros((1, 7, 11), np.int16)
    instances[0, 1:6, 1:5] = 40
    instances[0, 1:6, 5:10] = 7
    classes = instance_classes(instances, 1)
    expected = [
        "00000000000",
        "02222222220",
        "02112211120",
        "02112211120",
        "02112211120",
        "02222222220",
        "00000000000",
    ]
    assert ["".join(map(str, row)) for row in classes[0]] == expected


@pytest.mark.parametrize("width", [1, 2, 3])
def test_width_is_the_thickness_of_the_boundary(width: int) -> None:
    instances = np.zeros((1, 1, 20), np.int32)
    instances[..., 3:17] = 5
    classes = instance_classes(instances, width)[0, 0]
    assert np.flatnonzero(classes == 2).tolist() == [*range(3, 3 + width), *range(17 - width, 17)]
    assert (classes == 1).sum() == 14 - 2 * width


def test_object_that_the_image_cuts_has_no_boundary_there() -> None:
    classes = instance_classes(np.ones((4, 4, 4), np.int8), 2)
    assert (classes == 1).all()


def test_volumes_have_boundaries_in_all_directions() -> None:
    instances = np.zeros((7, 7, 7), np.int16)
    instances[1:6, 1:6, 1:6] = 1
    classes = instance_classes(instances, 1)
    assert (classes == 1).sum() == 27
    assert (classes == 2).sum() == 125 - 27
