from __future__ import annotations

import itertools

import pytest

from umseg.reports.preview.layout import arrange

BRAIN = [(217.0, 181.0), (181.0, 217.0), (181.0, 181.0), (181.0, 181.0)]
LEGS = [(400.0, 400.0), (1800.0, 400.0), (1800.0, 400.0), (1800.0, 400.0)]
FLAT = [(400.0, 400.0), (8.0, 400.0), (8.0, 400.0), (8.0, 400.0)]
PAIR = [(256.0, 320.0)] * 2


@pytest.mark.parametrize("sizes", [BRAIN, LEGS, FLAT, PAIR, [(1.0, 30.0)]])
def test_panels_have_one_scale_and_their_own_room(sizes: list[tuple[float, float]]) -> None:
    places, (height, width) = arrange(sizes, (900, 1200), gap=12, caption=20)
    assert len(places) == len(sizes)
    assert height <= 902
    assert width <= 1204
    scale = max(places[0].height / sizes[0][0], places[0].width / sizes[0][1])
    for place, (high, wide) in zip(places, sizes, strict=True):
        assert place.height == pytest.approx(high * scale, abs=2)
        assert place.width == pytest.approx(wide * scale, abs=2)
        assert place.top >= 20
        assert place.top + place.height <= height
        assert place.left + place.width <= width
    for one, other in itertools.combinations(places, 2):
        beside = one.left + one.width + 12 <= other.left
        below = one.top + one.height + 12 + 20 <= other.top
        assert beside or below


def test_long_bodies_stand_side_by_side_and_thin_ones_lie_upon_each_other() -> None:
    legs, _ = arrange(LEGS, (900, 1200), 12, 20)
    assert len({place.left for place in legs}) == 4
    flat, _ = arrange(FLAT, (900, 1200), 12, 20)
    assert len({place.left for place in flat}) == 1
    brain, _ = arrange(BRAIN, (900, 1200), 12, 20)
    assert [place.left for place in brain] == [brain[0].left] * 2 + [brain[2].left] * 2


def test_a_panel_is_at_least_one_pixel_thick() -> None:
    places, _ = arrange([(1000.0, 1000.0), (0.01, 1000.0)], (900, 1200), 12, 20)
    assert places[1].height == 1
