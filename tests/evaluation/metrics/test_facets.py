from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Sequence

import numpy as np
import pytest

from umseg.evaluation.metrics.facets import contour_segments, facet_normals

Corner = tuple[int, ...]
CORNERS: list[Corner] = list(itertools.product((0, 1), repeat=3))


def areas() -> np.ndarray:
    result: np.ndarray = np.linalg.norm(facet_normals(), axis=-1).sum(axis=-1)
    return result


def code_of(corners: Collection[Corner]) -> int:
    return sum(128 >> i for i, corner in enumerate(CORNERS) if corner in corners)


@pytest.mark.parametrize(
    ("corners", "area"),
    [
        ([], 0),
        ([(0, 0, 0)], math.sqrt(3) / 8),
        ([(0, 0, 0), (0, 0, 1)], math.sqrt(2) / 2),
        ([(0, 0, 0), (0, 1, 1)], math.sqrt(3) / 4),
        ([(0, 0, 0), (1, 1, 1)], math.sqrt(3) / 4),
        ([(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1)], 1),
        # Three neighbours of a corner and the corner itself: a regular hexagon with sides of sqrt(1/2).
        ([(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)], 3 * math.sqrt(3) / 4),
        # Every second corner: four small triangles.
        ([(0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0)], math.sqrt(3) / 2),
    ],
)
def test_areas_known_from_geometry(corners: Sequence[Corner], area: float) -> None:
    assert areas()[code_of(corners)] == pytest.approx(area)


def test_a_code_and_its_complement_have_the_same_area() -> None:
    np.testing.assert_allclose(areas(), areas()[::-1])


def test_only_cells_of_one_kind_have_no_surface() -> None:
    assert np.flatnonzero(areas() == 0).tolist() == [0, 255]


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", list(itertools.product((False, True), repeat=3)))
def test_areas_do_not_depend_on_the_cube_s_orientation(axes: tuple[int, ...], flips: tuple[bool, ...]) -> None:
    def turned(corner: Corner) -> Corner:
        return tuple(int(corner[a] != flip) for a, flip in zip(axes, flips, strict=True))

    for code in range(256):
        inside = [corner for i, corner in enumerate(CORNERS) if code & (128 >> i)]
        assert areas()[code_of([turned(corner) for corner in inside])] == pytest.approx(areas()[code])


def test_contour_lengths_in_two_dimensions() -> None:
    sy, sx = 3.0, 4.0
    lengths = np.linalg.norm(contour_segments() * (sy, sx), axis=-1).sum(axis=-1)
    diagonal = 2.5
    # Codes: corners (0, 0), (0, 1), (1, 0), (1, 1) from the highest bit to the lowest.
    expected = {0b0000: 0, 0b1111: 0, 0b1100: sx, 0b0011: sx, 0b1010: sy, 0b0101: sy}
    expected |= {0b1001: 2 * diagonal, 0b0110: 2 * diagonal}
    for code in range(16):
        assert lengths[code] == pytest.approx(expected.get(code, diagonal)), f"{code:04b}"
