"""Charts: a point for every case, round numbers at the axes, names that stay texts."""

from __future__ import annotations

import itertools
import math
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umseg.reports.page.charts.plots import Curve, Dot, Strip, curves, distributions, legend, scatter
from umseg.reports.page.charts.svg import Scale, round_numbers


def points(svg: str) -> list[ET.Element]:
    """The points of a chart, which has to be well-formed."""
    return [node for node in ET.fromstring(svg).iter() if node.get("class") == "point"]


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(3, 9))
def test_marks_of_an_axis_are_within_it_in_equal_steps(low: float, width: float, most: int) -> None:
    marks = round_numbers(low, low + width, most)
    assert 1 <= len(marks) <= most + 1
    rounding = 1e-6 * (width + abs(low))
    assert all(low - rounding <= mark <= low + width + rounding for mark in marks)
    steps = [b - a for a, b in itertools.pairwise(marks)]
    assert all(step == pytest.approx(steps[0], rel=1e-3) for step in steps)


def test_a_scale_keeps_numbers_within_its_ends() -> None:
    scale = Scale(1, 100, 0, 200, logarithmic=True)
    assert [scale(value) for value in (0.5, 10, 1000)] == [0, 100, 200]
    assert scale.ticks() == [1, 2, 5, 10, 20, 50, 100]


def test_a_distribution_has_a_point_for_every_case_and_a_place_for_a_class_without_any() -> None:
    strips = [Strip("liver", "liver", {"a": 0.9, "b": 0.8}), Strip("cyst", "cyst", {})]
    svg = distributions("DSC", strips, (0.0, 1.0))
    assert [node.get("data-case") for node in points(svg)] == ["b", "a"]
    assert "no score" in svg
    assert "liver: median 0.85, from 0.8 in 2 cases; cyst: no score" in svg


def test_sizes_can_be_on_a_logarithmic_scale_unless_they_are_equal() -> None:
    sizes = Strip("liver", "liver", {"a": 1.0, "b": 10.0, "c": 100.0})
    places = [float(node.get("cx") or 0) for node in points(distributions("ml", [sizes], None, logarithmic=True))]
    assert places[1] - places[0] == pytest.approx(places[2] - places[1], abs=0.1)
    assert points(distributions("ml", [Strip("c", "c", {"a": 2.0})], None, logarithmic=True))


def test_equal_scores_do_not_hide_each_other() -> None:
    svg = distributions("DSC", [Strip("c", "c", {f"case_{n}": 0.5 for n in range(4)})], (0.0, 1.0))
    assert len({(node.get("cx"), node.get("cy")) for node in points(svg)}) == 4


def test_names_in_charts_are_escaped() -> None:
    name = '<b>"&'
    for svg in (
        distributions("DSC", [Strip(name, name, {name: 0.5})], None),
        scatter("t", "x", "y", [Dot(name, 1, 0.5)], [name]),
        curves(name, [Curve(name, [1.0, None, 0.5])]),
    ):
        ET.fromstring(svg)
        assert "<b>" not in svg
    assert "<b>" not in legend([name])


def test_sizes_over_a_wide_range_are_logarithmic() -> None:
    assert "ml, logarithmic" in scatter("t", "ml", "DSC", [Dot("a", 1, 0.5), Dot("b", 900, 0.6)], ["c"])
    assert "logarithmic" not in scatter("t", "ml", "DSC", [Dot("a", 1, 0.5), Dot("b", 9, 0.6)], ["c"])


def test_a_curve_with_a_gap_is_two_lines() -> None:
    svg = curves("Dice", [Curve("liver", [0.1, 0.2, None, math.nan, 0.3, 0.4])], unit=True)
    lines = [node for node in ET.fromstring(svg).iter() if node.tag == "polyline"]
    assert len(lines) == 2
    assert "liver ends at 0.4" in svg
