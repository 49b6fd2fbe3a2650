from __future__ import annotations

import numpy as np

from umseg.common.colours import class_colours, lab


def test_the_first_ten_are_the_usual_ones_and_more_classes_add_to_fewer() -> None:
    assert class_colours(10)[0] == (0x1F / 255, 0x77 / 255, 0xB4 / 255)
    assert class_colours(300)[:118] == class_colours(118)
    assert class_colours(0) == ()


def test_hundreds_of_colours_can_be_told_apart() -> None:
    places = lab(np.array(class_colours(200)))
    distances = np.linalg.norm(places[:, None] - places[None], axis=2)[~np.eye(200, dtype=bool)]
    assert distances.min() > 10, "a difference of about 2 is just visible"


def test_the_lightness_is_that_of_the_standard() -> None:
    black, white, red = lab(np.array([[0.0, 0, 0], [1, 1, 1], [1, 0, 0]]))
    np.testing.assert_allclose(black, 0, atol=0.01)
    np.testing.assert_allclose(white, (100, 0, 0), atol=0.02)
    np.testing.assert_allclose(red, (53.24, 80.09, 67.20), atol=0.05)
