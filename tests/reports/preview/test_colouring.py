from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from umseg.reports.preview.colouring import FILLED, intensity_window, paint
from umseg.reports.preview.layout import Place
from umseg.reports.preview.planes import Plane, Surface

RED, BLUE = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)
COLOURS = np.array([(0, 0, 0), RED, BLUE, RED, (0, 0, 0)], np.float32)


def panel(labels: NDArray[np.uint8], grey: float = 0.0) -> Plane:
    return Plane("", labels, (1.0, 1.0), "", np.full((*labels.shape, 1), grey, np.float32))


def test_classes_are_filled_lightly_and_outlined() -> None:
    labels = np.zeros((10, 12), np.uint8)
    labels[2:8, 3:9] = 1
    picture = paint(panel(labels), Place(0, 0, 10, 12), COLOURS, (0, 1))
    assert picture.dtype == np.uint8
    assert picture.shape == (10, 12, 3)
    outline = np.zeros((10, 12), np.bool_)
    outline[2:8, 3:9] = True
    outline[3:7, 4:8] = False
    assert (picture[outline] == (255, 0, 0)).all()
    assert (picture[3:7, 4:8] == (round(255 * FILLED), 0, 0)).all()
    assert not picture[labels == 0].any()


def test_an_outline_is_one_pixel_wide_however_large_a_voxel_is_drawn() -> None:
    labels = np.zeros((5, 5), np.uint8)
    labels[2, 2] = 1
    picture = paint(panel(labels), Place(0, 0, 50, 100), COLOURS, (0, 1))
    assert (picture[..., 0] == 255).sum() == 2 * 20 + 2 * 8
    assert (picture[..., 0] > 0).sum() == 10 * 20


def test_values_of_one_colour_have_no_line_between_them() -> None:
    labels = np.repeat(np.array([[1, 1, 3, 3]], np.uint8), 5, axis=0)
    picture = paint(panel(labels), Place(0, 0, 5, 4), COLOURS, (0, 1))
    assert (picture[..., 0] == round(255 * FILLED)).all()


def test_what_is_not_shown_leaves_the_image_as_it_is() -> None:
    labels = np.full((4, 4), 4, np.uint8)
    labels[:2] = 0
    assert (paint(panel(labels, 0.6), Place(0, 0, 8, 8), COLOURS, (0, 1)) == 153).all()


@pytest.mark.parametrize(("grey", "shown"), [(-50, 0), (0, 0), (50, 64), (200, 255), (900, 255)])
def test_intensities_are_shown_between_black_and_white(grey: float, shown: int) -> None:
    picture = paint(panel(np.zeros((4, 4), np.uint8), grey), Place(0, 0, 9, 7), COLOURS, (0, 200))
    assert (picture == shown).all()


def test_a_constant_image_can_be_painted() -> None:
    assert not paint(panel(np.zeros((4, 4), np.uint8), 7), Place(0, 0, 4, 4), COLOURS, (7, 7)).any()


def test_colours_of_a_picture_are_kept() -> None:
    colours = np.zeros((6, 6, 3), np.float32)
    colours[:] = (10, 20, 30)
    flat = Plane("", np.zeros((6, 6), np.uint8), (1.0, 1.0), "", colours)
    assert (paint(flat, Place(0, 0, 3, 3), COLOURS, (0, 40)) == (64, 128, 191)).all()


def test_a_large_picture_is_averaged() -> None:
    checks = np.indices((2000, 2000)).sum(axis=0) // 100 % 2
    flat = Plane("", np.zeros((2000, 2000), np.uint8), (1.0, 1.0), "", checks[..., None].astype(np.float32))
    picture = paint(flat, Place(0, 0, 10, 10), COLOURS, (0, 1))
    assert np.abs(picture.mean() - 127.5) < 5


def test_surfaces_facing_the_light_are_brighter() -> None:
    y, x = np.mgrid[-1:1:61j, -1:1:61j]
    height = np.sqrt(np.maximum(1 - y**2 - x**2, 0))
    ball = (y**2 + x**2 < 0.95).astype(np.uint8)
    seen = Surface("", ball, (2.0, 2.0), "", np.where(ball, 1 - height, 0).astype(np.float32))
    picture = paint(seen, Place(0, 0, 122, 122), COLOURS, (0, 1))[..., 0].astype(int)
    assert not picture[0].any()
    assert picture[40, 40] > picture[61, 61] > picture[85, 85] > 0
    assert picture[40, 40] > 200
    empty = Surface("", np.zeros((4, 4), np.uint8), (2.0, 2.0), "", np.zeros((4, 4), np.float32))
    assert not paint(empty, Place(0, 0, 8, 8), COLOURS, (0, 1)).any()


def test_grey_values_lie_around_those_of_the_classes() -> None:
    image = np.full((1, 20, 20, 20), -1000.0, np.float32)
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[5:15, 5:15, 5:15] = 1
    image[0, labels > 0] = np.linspace(0, 100, 1000)
    image[0, 0, :10] = 3000
    box = [slice(5, 15)] * 3
    low, high = intensity_window(image, labels, box)
    assert (low, high) == pytest.approx((10 - 80, 90 + 80), abs=1)
    image[0, -3:] = 500
    assert intensity_window(image, labels, box) == (low, 500.0)
    everything = [slice(0, 20)] * 3
    assert intensity_window(image, 0 * labels, everything) == (-1000.0, 3000.0)
    assert intensity_window(image * 0 + 5, labels, box) == (5.0, 5.0)
